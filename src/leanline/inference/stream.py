"""Reading, computing and writing at the same time, with a bounded number of things in between."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Job = TypeVar("Job")
Read = TypeVar("Read")
Made = TypeVar("Made")

DEPTH = 2
"""What was read, and what was computed, that may wait: so many jobs each."""

_LOOK = 0.1  # seconds between looks at whether the others have stopped
_END = object()


@dataclass
class Times:
    """Where the time went, in seconds.

    Attributes:
        seconds: from begin to end.
        network: in which the network was computing.
        read: in which slices were read and made ready, beside the network.
        write: in which results were made ready and written, beside the network.
        waited_for_read: in which the network had nothing to do.
        waited_for_write: in which it had to stop because too much waited to be written.
    """

    seconds: float = 0.0
    network: float = 0.0
    read: float = 0.0
    write: float = 0.0
    waited_for_read: float = 0.0
    waited_for_write: float = 0.0

    def add(self, other: Times) -> None:
        """Add another part of the same work."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


@dataclass(frozen=True)
class Steps(Generic[Job, Read, Made]):
    """What is done with every job.

    Attributes:
        read: in a thread of its own, job after job.
        compute: in the calling thread.
        write: in a thread of its own, in the same order.
        flush: called once at the end in the writing thread, also after an error or Ctrl-C; not
            if `write` failed.
    """

    read: Callable[[Job], Read]
    compute: Callable[[Job, Read], Made]
    write: Callable[[Job, Made], None]
    flush: Callable[[], None]


def stream(jobs: Iterable[Job], steps: Steps[Job, Read, Made], times: Times) -> None:
    """Do all jobs, in order.

    If reading or computing a job fails, the jobs before it are written, then the error is raised.
    After Ctrl-C, what was computed is written.

    Args:
        jobs: what there is to do.
        steps: how.
        times: is added to.
    """
    _Stream(steps, times).run(jobs)


class _Stream(Generic[Job, Read, Made]):
    def __init__(self, steps: Steps[Job, Read, Made], times: Times) -> None:
        self.steps, self.times = steps, times
        self.ready: queue.Queue[Any] = queue.Queue(DEPTH)
        self.made: queue.Queue[Any] = queue.Queue(DEPTH)
        self.closing = threading.Event()
        self.failed_writing: BaseException | None = None

    def run(self, jobs: Iterable[Job]) -> None:
        begin = time.perf_counter()
        reader = threading.Thread(target=self._read, args=(jobs,), name="leanline-read")
        writer = threading.Thread(target=self._write, name="leanline-write")
        reader.start()
        writer.start()
        try:
            self._compute()
        finally:
            self.closing.set()
            _join(reader)
            _join(writer)
            self.times.seconds += time.perf_counter() - begin
        if self.failed_writing is not None:
            raise self.failed_writing

    def _read(self, jobs: Iterable[Job]) -> None:
        item: tuple[Any, Any, BaseException | None]
        try:
            for job in jobs:
                begin = time.perf_counter()
                item = (job, self.steps.read(job), None)
                self.times.read += time.perf_counter() - begin
                if not self._offer(item):
                    return
            self._offer((_END, None, None))
        except BaseException as error:  # is raised again in the thread of the caller
            self._offer((_END, None, error))

    def _offer(self, item: tuple[Any, Any, BaseException | None]) -> bool:
        while not self.closing.is_set():
            try:
                self.ready.put(item, timeout=_LOOK)
                return True
            except queue.Full:
                continue
        return False

    def _compute(self) -> None:
        clock = time.perf_counter
        while True:
            begin = clock()
            job, given, error = self.ready.get()
            waited = clock()
            self.times.waited_for_read += waited - begin
            if error is not None:
                raise error
            if job is _END:
                return
            made = self.steps.compute(job, given)
            del given
            done = clock()
            self.times.network += done - waited
            if not self._hand_over((job, made)):
                return
            self.times.waited_for_write += clock() - done

    def _hand_over(self, item: Any) -> bool:
        """Give something to the writer; False if that has failed."""
        while self.failed_writing is None:
            try:
                self.made.put(item, timeout=_LOOK)
                return True
            except queue.Full:
                continue
        return False

    def _write(self) -> None:
        try:
            while True:
                last = self.closing.is_set()  # asked first: nothing is handed over after it
                try:
                    job, made = self.made.get(timeout=_LOOK if not last else 0)
                except queue.Empty:
                    if last:
                        break
                    continue
                begin = time.perf_counter()
                self.steps.write(job, made)
                del made
                self.times.write += time.perf_counter() - begin
            begin = time.perf_counter()
            self.steps.flush()
            self.times.write += time.perf_counter() - begin
        except BaseException as error:  # is raised again in the thread of the caller
            self.failed_writing = error


def _join(thread: threading.Thread) -> None:
    """Wait for a thread that ends soon, also where Ctrl-C is pressed again meanwhile."""
    while thread.is_alive():
        with contextlib.suppress(KeyboardInterrupt):
            thread.join()
