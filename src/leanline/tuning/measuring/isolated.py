"""The process that measures, as seen by the one that tunes: started, timed out, replaced."""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import signal
import tempfile
import weakref
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from leanline.errors import ConfigError, RunError
from leanline.tuning.measuring import worker
from leanline.tuning.measuring.bench import Expected, Opener
from leanline.tuning.measuring.outcome import Outcome
from leanline.tuning.measuring.timing import TimingPolicy

START_LIMIT = 300.0
"""Seconds in which the process has to be there: it imports this package and opens the device."""

TAIL = 300
"""Characters of what a process printed last that a crash is told with."""


class Isolated:
    """A device in a process of its own.

    The process is forked from a clean server that has imported the package and done nothing else,
    so that a new one takes the place of a crashed one in milliseconds, with no state of this
    process in it.
    """

    def __init__(self, opener: Opener, expected: Expected | None, policy: TimingPolicy) -> None:
        """Say what is opened; the process is started when it is first asked."""
        self._opener, self._expected, self._policy = opener, expected, policy
        self._process: Any = None
        self._connection: Connection | None = None
        self._log: Path | None = None
        self._about: dict[str, str] = {}
        self._end: Callable[[], object] = _nothing

    @property
    def about(self) -> Mapping[str, str]:
        """The device and the versions of what drives it.

        Raises:
            RunError: The device cannot be opened.
        """
        if not self._about:
            self._ready()
        return self._about

    def ask(self, *request: Any) -> Outcome:
        """Have one request answered; see `worker.work`.

        Returns:
            The answer; where the process crashed or took too long, that. After that, and after a
            failure at run time, which may have harmed the device's state, another one is started.

        Raises:
            RunError: The process cannot be started.
        """
        connection = self._ready()
        doing = "beginning"
        try:
            connection.send(request)
            limit = START_LIMIT
            while True:
                if not connection.poll(limit):
                    self.close()
                    return Outcome(failure="timeout", detail=f"{doing} took over {limit:g} s")
                message = connection.recv()
                if message[0] == "done":
                    answer: Outcome = message[1]
                    if answer.failure == "runtime":
                        # a GPU's context may be lost for all that would come after
                        self.close()
                    return answer
                _, doing, limit = message
        except (EOFError, OSError):  # OSError: it died while it was sending
            return Outcome(failure="crash", detail=f"while it {_DOING[doing]}: {self._ending()}")
        except BaseException:  # Ctrl-C: the process may be in the middle of anything
            self.close()
            raise

    def close(self) -> None:
        """End the process; the next request starts another one."""
        self._end()
        self._end = _nothing
        self._process = self._connection = self._log = None

    def _ready(self) -> Connection:
        if self._connection is not None:
            return self._connection
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([worker.__name__, *_preload(self._opener)])
        ours, theirs = context.Pipe()
        file = tempfile.NamedTemporaryFile(prefix="leanline-tune-", suffix=".log", delete=False)  # noqa: SIM115 - the finalizer removes it
        file.close()
        self._log = Path(file.name)
        given = (theirs, self._opener, self._expected, self._policy, file.name)
        self._process = context.Process(target=worker.work, args=given, daemon=True)
        self._end = weakref.finalize(self, _end, self._process, ours, self._log)
        try:
            self._process.start()
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            self.close()
            raise ConfigError(
                f"the kernel cannot be sent to the process that measures it: {error}; functions "
                "have to be found by their name in a module"
            ) from None
        theirs.close()
        self._connection = ours
        try:
            answered = ours.poll(START_LIMIT)
            message: tuple[str, Any] = ("unusable", f"no answer in {START_LIMIT:g} s")
            if answered:
                message = ours.recv()
        except (EOFError, ConnectionError):
            ending = self._ending()
            raise RunError(
                f"the process that measures ended before it began: {ending}. In a script, tune "
                'below `if __name__ == "__main__":`'
            ) from None
        except BaseException:
            self.close()
            raise
        if message[0] != "ready":
            self.close()
            raise RunError(f"the device cannot be opened: {message[1]}")
        self._about = message[1]
        return ours

    def _ending(self) -> str:
        """How the process ended, and the last that it printed."""
        self._process.join(5)
        code = self._process.exitcode
        how = f"the process ended with exit status {code}"
        if code is not None and code < 0:
            how = f"the process got {_signal_name(-code)}"
        said = ""
        if self._log is not None:
            with contextlib.suppress(OSError):
                said = " ".join(self._log.read_text(errors="replace")[-TAIL:].split())
        self.close()
        return f"{how} ({said})" if said else how


_DOING = {"beginning": "began", "compile": "was compiled", "run": "ran"}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _nothing() -> None:
    """There is no process to end."""


def _preload(opener: Opener) -> tuple[str, ...]:
    """Modules that the server imports before it forks, for speed."""
    return tuple(getattr(opener, "preload", ()))


def _end(process: Any, connection: Connection, log: Path) -> None:
    connection.close()
    if process.is_alive():
        process.kill()
    if process.pid is not None:
        process.join(5)
    log.unlink(missing_ok=True)
