"""Ctrl-C that is never lost.

Python handles a signal between two instructions of whatever runs then. Where that is a finalizer,
the exception is printed and ignored; and since finalizers run when a long kernel has ended, that
is no rare event.
"""

import contextlib
import os
import signal
import threading
import weakref
from collections.abc import Iterator
from types import FrameType

_AGAIN_SOON, _AGAIN = 0.01, 1.0  # seconds


@contextlib.contextmanager
def insistent_interrupts() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt again and again until it leaves this context.

    Does nothing outside the main thread, and where Ctrl-C does not raise KeyboardInterrupt.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    over = threading.Event()

    def again(seconds: float) -> None:
        def send() -> None:
            if not over.wait(seconds):
                os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=send, daemon=True).start()

    def handle(number: int, frame: FrameType | None) -> None:
        if over.is_set():
            return
        if _is_finalizing(frame):
            again(_AGAIN_SOON)
            return
        again(_AGAIN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        over.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_finalizing(frame: FrameType | None) -> bool:
    """Whether an exception raised in a frame would be ignored."""
    while frame is not None:
        if frame.f_code in _FINALIZERS or frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


_FINALIZERS = (weakref.finalize.__call__.__code__,)
