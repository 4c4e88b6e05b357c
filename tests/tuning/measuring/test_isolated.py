"""The process that measures: what cannot be sent or opened, and when it is replaced."""

import numpy as np
import pytest

from leanline import tuning
from leanline.errors import ConfigError, RunError
from leanline.tuning.measuring.bench import Expected, WrongOutput, fingerprint
from leanline.tuning.measuring.isolated import Isolated
from leanline.tuning.measuring.settle import settle
from tuning_kernels import IMAGE, QUICK, KnownBench, KnownKernel

SPACE = tuning.SearchSpace({"a": [1, 2]})


def unusable():
    raise OSError("no such device")


def test_a_device_that_cannot_be_opened_ends_the_run():
    isolated = Isolated(unusable, None, QUICK)
    with pytest.raises(RunError, match="cannot be opened: OSError: no such device"):
        isolated.ask("measure", {})


def test_what_cannot_be_sent_is_told():
    kernel = tuning.PythonKernel(lambda given: given, SPACE)
    with pytest.raises(ConfigError, match="cannot be sent to the process that measures"):
        kernel.measure(0)


def test_the_process_is_replaced_only_where_it_has_to_be():
    isolated = Isolated(KnownBench, Expected((IMAGE,)), QUICK)

    def process():
        return isolated._process.pid

    try:
        assert isolated.ask("measure", {"way": "fine", "ms": 2.5}).samples == (2.5, 2.5, 2.5)
        first = process()
        assert isolated.ask("measure", {"way": "compile", "ms": 1.0}).failure == "compile"
        assert process() == first
        lost = isolated.ask("measure", {"way": "exit", "ms": 1.0})
        assert lost.failure == "crash" and "exit status 0" in lost.detail
        assert isolated.ask("measure", {"way": "fine", "ms": 0.5}).time == 0.5
        assert process() != first
        for impossible in (0.0, -1.0, float("nan")):
            assert isolated.ask("measure", {"way": "fine", "ms": impossible}).failure == "runtime"
    finally:
        isolated.close()


class PoisonedBench(KnownBench):
    """As a GPU whose context is lost: after one failure at run time everything fails."""

    lost = False

    def compile(self, order):
        if self.lost:
            raise RuntimeError("the context is lost")
        type(self).lost = order["way"] == "runtime"
        return super().compile(order)


def test_a_failure_at_run_time_harms_no_other_configuration():
    isolated = Isolated(PoisonedBench, None, QUICK)
    try:
        assert isolated.ask("measure", {"way": "runtime", "ms": 1.0}).failure == "runtime"
        assert isolated.ask("measure", {"way": "fine", "ms": 0.5}).time == 0.5
    finally:
        isolated.close()


def test_a_leader_that_fails_makes_place_for_the_next():
    kernel = KnownKernel(QUICK)
    fine = [code for code in kernel.ms if code not in kernel.ways]
    crashing = next(code for code, way in kernel.ways.items() if way == "exit")
    codes = np.array([crashing, *fine[:3]])
    times = np.array([0.1, 0.2, 0.3, 0.4])  # as if it had run before
    try:
        found = settle(kernel, codes, times)
    finally:
        kernel.close()
    assert list(found) == [fine[0]]  # of the first two leaders, the one that is left
    assert found[fine[0]].median == kernel.ms[fine[0]]


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ((IMAGE, None), "2 outputs; 1 are expected"),
        ((IMAGE[:-1],), r"shape \(63,\); \(64,\) is expected"),
        ((np.where(IMAGE == 5, np.nan, IMAGE),), r"1 of 64 values; the first is nan at \(5,\)"),
    ],
)
def test_wrong_outputs_are_told(outputs, message):
    with pytest.raises(WrongOutput, match=message):
        Expected((IMAGE,)).check(outputs)


def test_an_expectation_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="at least one output"):
        Expected((None, None))


def test_kernels_are_told_apart_by_text_and_sizes():
    base = fingerprint(("f", "source"), (IMAGE, np.int32(3)))
    assert base == fingerprint(("f", "source"), (IMAGE + 1, np.int32(3)))
    others = [
        fingerprint(("f", "source "), (IMAGE, np.int32(3))),
        fingerprint(("fs", "ource"), (IMAGE, np.int32(3))),
        fingerprint(("f", "source"), (IMAGE[1:], np.int32(3))),
        fingerprint(("f", "source"), (IMAGE, np.int32(4))),
        fingerprint(("f", "source"), (IMAGE.astype(np.float64), np.int32(3))),
    ]
    assert len({base, *others}) == 6
