"""Threads that meet, and teams of threads that share the rows of an image."""

import threading
from collections.abc import Callable, Iterator

import numba as nb
import numpy as np
import pytest
import torch

from leanline.kernels.barrier import meet
from leanline.kernels.ops import planes_infer
from leanline.kernels.program import PlaneProgram
from leanline.kernels.registry import register
from leanline.kernels.windows import CONVOLVE, Window
from leanline.kernels.workers import each, together
from plane_programs import make_case

STEPS = 200
PATIENCE = 120.0  # seconds; a deadlock lasts longer


@nb.njit(nogil=True)
def _walk(counter, steps, member):  # type: ignore[no-untyped-def]
    """Write one's own number, meet, read the others'; count those that were not there yet."""
    missed = 0
    for step in range(STEPS):
        steps[member] = step + 1
        meet(counter, steps.size)
        for other in range(steps.size):
            if steps[other] < step + 1 or steps[other] > step + 2:
                missed += 1
    return missed


def test_nobody_goes_on_before_all_have_come() -> None:
    for members in (1, 2, 5):  # more than there are processors here
        counter = np.zeros(8, np.int64)
        steps = np.zeros(members, np.int64)
        missed = [-1] * members

        def work(member: int) -> None:
            missed[member] = _walk(counter, steps, member)  # noqa: B023

        finish(lambda: together(members, work, lambda: counter.__setitem__(1, 1)))  # noqa: B023
        assert missed == [0] * members
        assert counter[0] == (STEPS * members if members > 1 else 0)


def finish(*works: Callable[[], object]) -> None:
    """Run all at the same time; none may hang."""
    problems: list[BaseException] = []

    def guard(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=guard, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "waits for ever"
    if problems:
        raise problems[0]


@pytest.mark.parametrize("late", [0, 1, 2])
@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_nobody_waits_for_a_member_that_failed(late: int, kind: type[BaseException]) -> None:
    counter = np.zeros(8, np.int64)
    steps = np.zeros(3, np.int64)

    def work(member: int) -> None:
        if member == late:
            raise kind("no")
        _walk(counter, steps, member)

    with pytest.raises(kind, match="no"):
        finish(lambda: together(3, work, lambda: counter.__setitem__(1, 1)))


def test_an_exception_is_raised_after_all_calls() -> None:
    done = []

    def work(index: int) -> None:
        done.append(index)
        if index == 1:
            raise ValueError("one")

    with pytest.raises(ValueError, match="one"):
        each(5, 2, work)
    assert sorted(done) == list(range(5))


@pytest.fixture(scope="module")
def deep() -> Iterator[PlaneProgram]:
    """Many small steps that each need all rows of the one before."""
    depth = 150
    steps = [(i + 1, i % 2, i, i + 1, 1, 0) for i in range(depth)]
    windows = [Window(CONVOLVE, 3, 3, 1, 1, d, d, d, d, d, d) for d in (1, 7)]
    none = np.zeros(0, np.int64)
    yield PlaneProgram(
        np.asarray([(0, 1)]), np.zeros(depth + 1, np.int64), np.asarray([w.row for w in windows]),
        np.asarray(steps), np.arange(depth), (np.asarray([depth]),), none, 0, "zeros",
    )  # fmt: skip


@pytest.mark.parametrize("threads", [2, 3, 9])
def test_many_steps_on_more_threads_than_processors(deep: PlaneProgram, threads: int) -> None:
    case = make_case(deep, 1, [(37, 21)], 0)
    key = register(deep)
    (want,) = planes_infer(list(case.images), *case.numbers, key, 1)
    for _ in range(3):
        (have,) = planes_infer(list(case.images), *case.numbers, key, threads)
        assert torch.equal(have, want)


def test_calls_from_several_threads_at_once(deep: PlaneProgram) -> None:
    key = register(deep)
    cases = [make_case(deep, batch, [(25, 21)], batch) for batch in (1, 2, 5, 1)]
    wants = [planes_infer(list(c.images), *c.numbers, key, 1)[0] for c in cases]

    def call(number: int) -> None:
        case = cases[number]
        for _ in range(5):  # fewer images than threads: rows; more: images; on the same pool
            (have,) = planes_infer(list(case.images), *case.numbers, key, 3)
            assert torch.equal(have, wants[number])

    finish(*(lambda number=number: call(number) for number in range(len(cases))))  # type: ignore[misc]
