"""The process that measures: it compiles, checks and times what it is sent, until told to end.

Whatever a configuration does to this process, the one that tunes lives on.
"""

from __future__ import annotations

import os
import signal
import time
from multiprocessing.connection import Connection
from typing import Any

from leanline.tuning.measuring.bench import Bench, Expected, Launch, Opener, WrongOutput
from leanline.tuning.measuring.outcome import Outcome
from leanline.tuning.measuring.timing import TimingPolicy

GRACE = 5.0
"""Seconds beyond a limit after which this process ends itself, if the one that tunes did not end
it: that one may have been killed."""

LONGEST = 1000
"""Characters of what a compiler said that are kept."""


def work(
    connection: Connection,
    opener: Opener,
    expected: Expected | None,
    policy: TimingPolicy,
    log: str,
) -> None:
    """Open the device and answer requests; the target of the process.

    Requests: ``("measure", order)``; ``("hold", key, order)`` compiles, checks and keeps; ``("run",
    key)`` times what is held once. Before each step a message ``("phase", name, limit)`` is sent,
    after the last one ``("done", answer)``.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that tunes
    written = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(written, 1)
    os.dup2(written, 2)
    try:
        bench = opener()
    except Exception as error:
        connection.send(("unusable", _said(error)))
        return
    connection.send(("ready", dict(bench.about)))
    at_work = _Worker(connection, bench, expected, policy)
    while True:
        signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            request = connection.recv()
        except EOFError:
            return
        connection.send(("done", at_work.answer(*request)))


class _Worker:
    def __init__(
        self, connection: Connection, bench: Bench, expected: Expected | None, policy: TimingPolicy
    ) -> None:
        self._connection, self._bench = connection, bench
        self._expected, self._policy = expected, policy
        self._held: dict[int, Launch] = {}
        self._phase = ""

    def answer(self, kind: str, *given: Any) -> Outcome:
        try:
            if kind == "run":
                return Outcome((self._time(self._held[given[0]]),))
            launch = self._checked(given[-1])
            if kind == "hold":
                self._held[given[0]] = launch
                return Outcome()
            return Outcome(self._samples(launch))
        except WrongOutput as wrong:
            return Outcome(failure="correctness", detail=str(wrong))
        except Exception as error:
            failure = "compile" if self._phase == "compile" else "runtime"
            return Outcome(failure=failure, detail=_said(error))

    def _enter(self, phase: str) -> None:
        self._phase = phase
        limit = getattr(self._policy, f"{phase}_limit")
        # ends this process even inside a driver that never returns
        signal.setitimer(signal.ITIMER_REAL, limit + GRACE)
        self._connection.send(("phase", phase, limit))

    def _checked(self, order: Any) -> Launch:
        self._enter("compile")
        launch = self._bench.compile(order)
        self._enter("run")
        outputs = launch.outputs()
        if self._expected is not None:
            self._expected.check(outputs)
        return launch

    def _samples(self, launch: Launch) -> tuple[float, ...]:
        for _ in range(self._policy.warm_up):
            self._time(launch)
        samples: list[float] = []
        begin = time.perf_counter()
        while not self._policy.is_enough(samples, time.perf_counter() - begin):
            samples.append(self._time(launch))
        return tuple(samples)

    def _time(self, launch: Launch) -> float:
        self._enter("run")
        measured = float(launch.time())
        if not 0 < measured < float("inf"):
            raise ValueError(f"a run took {measured} ms, which cannot be")
        return measured


def _said(error: Exception) -> str:
    """What an error says, on one line."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= LONGEST else text[:LONGEST] + " ..."
