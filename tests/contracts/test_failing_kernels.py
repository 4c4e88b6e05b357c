"""A fifth of the configurations fail, in every way: every optimiser ends, with the right best."""

import numpy as np
import pytest

from leanline import tuning
from leanline.records.progress import bar
from leanline.tuning.measuring.journal import Journal
from leanline.tuning.measuring.recorded import Recorded
from leanline.tuning.optimisers.named import optimiser_named, optimiser_names
from tuning_kernels import FAILURES, KnownKernel


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The kernel, each configuration of which is measured once for all tests."""
    kernel = KnownKernel()
    journal = Journal(tmp_path_factory.mktemp("tune") / "known", {"kernel": "known"}, kernel.space)
    with bar("tune") as silent:
        yield kernel, Recorded(kernel, journal, silent), journal
    kernel.close()


@pytest.mark.parametrize("name", optimiser_names())
def test_every_optimiser_ends_with_the_right_best(name, measured):
    kernel, objective, journal = measured
    budget = 25
    trace = tuning.minimize(objective, optimiser_named(name, budget), budget=budget, seed=3)
    assert trace.evaluations <= budget
    assert len(np.unique(trace.codes)) == trace.evaluations
    for code, time in zip(trace.codes.tolist(), trace.times, strict=True):
        way = kernel.ways.get(code)
        assert journal.outcomes[code].failure == ("" if way is None else FAILURES[way])
        assert time == (np.inf if way else kernel.ms[code])
    ran = [code for code in trace.codes.tolist() if code not in kernel.ways]
    assert trace.best_code == min(ran, key=kernel.ms.__getitem__)


def test_all_ways_to_fail_were_met(measured):
    kernel, objective, journal = measured
    trace = tuning.minimize(objective, tuning.BruteForce(), budget=60)
    assert trace.evaluations == 60 and trace.best_code == kernel.best
    met = {code: each.failure for code, each in journal.outcomes.items() if each.failure}
    assert met == {code: FAILURES[way] for code, way in kernel.ways.items()}
    assert len(met) == 12
    assert set(kernel.ways.values()) == set(FAILURES)
