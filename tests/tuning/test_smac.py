"""SMAC: one small run; SMAC3 does the rest."""

import sys

import numpy as np
import pytest

from leanline import tuning
from leanline.errors import RunError
from tuning_spaces import measured, small_space


def objective() -> tuning.Callable:
    measurements = measured(small_space())
    space = measurements.space
    return tuning.Callable(lambda row: measurements.time(space.encode(row)), space)


@pytest.mark.parametrize("protocol", ["paper", "valid"])
def test_one_small_run(protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    state = np.random.get_state()[1].tolist()
    first, again = (
        tuning.minimize(
            objective(), tuning.SMAC("random-forest"), budget=6, seed=3, protocol=protocol
        )
        for _ in range(2)
    )
    assert 1 <= first.evaluations <= 6
    assert first.evaluations == len(set(first.codes.tolist()))
    assert first.codes.tolist() == again.codes.tolist()
    assert first.best_time == first.times.min()
    if protocol == "valid":
        assert small_space().is_valid(first.codes).all()
    assert not list(tmp_path.iterdir()), "it left files"
    assert np.random.get_state()[1].tolist() == state, "it drew from the global random numbers"


def test_the_gaussian_process_and_a_space_that_is_exhausted():
    space = tuning.SearchSpace({"a": [1], "b": [1, 2, 3]})
    function = tuning.Callable(lambda row: 5.0 - row["b"], space)
    trace = tuning.minimize(function, tuning.SMAC(), budget=10)
    assert trace.ended in ("space exhausted", "finished")
    assert trace.best_time == trace.times.min()


def test_without_smac_the_error_names_the_extra(monkeypatch):
    for name in [each for each in sys.modules if each.split(".")[0] == "smac"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "smac", None)
    with pytest.raises(RunError, match=r"leanline\[tune\]"):
        tuning.minimize(objective(), tuning.SMAC(), budget=3)
