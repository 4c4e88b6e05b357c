"""Tuning into a folder: what is kept, looked up, and written for the benchmark."""

import inspect

import numpy as np
import pytest

from leanline import tuning
from leanline.errors import ConfigError, RunError
from leanline.tuning.measuring.journal import LINES
from tuning_kernels import in_process, known_time


def counted(space, fail=()):
    calls = []

    def measure(given):
        calls.append(space.encode(given))
        if given["a"] in fail:
            raise RuntimeError("no")
        return known_time({**given, "c": 0})

    return tuning.Callable(measure, space, "counted"), calls


SPACE = tuning.SearchSpace({"a": [1, 2, 3, 4], "b": [1, 2, 3]}, ["a + b < 7"])


def test_what_was_measured_is_not_measured_again(tmp_path):
    objective, calls = counted(SPACE)
    first = tuning.tune(objective, tuning.FirstILS(), tmp_path, budget=6, seed=1)
    again = tuning.tune(objective, tuning.FirstILS(), tmp_path, budget=6, seed=1)
    assert len(calls) == 6
    np.testing.assert_array_equal(first.trace.codes, again.trace.codes)
    assert again.trace.best_config == first.trace.best_config
    more = tuning.tune(objective, tuning.BruteForce(), tmp_path, budget=100)
    assert len(calls) == len(set(calls)) == 11 == len(more.measurements.codes)
    assert more.trace.best_time == min(known_time({**SPACE.decode(c), "c": 0}) for c in calls)


def test_the_folder_is_a_space_to_replay(tmp_path):
    objective, _ = counted(SPACE, fail=(2,))
    tuned = tuning.tune(objective, tuning.BruteForce(), tmp_path, budget=100, settings={"n": 5})
    assert tuned.failures == {"runtime": 3}
    for name in ("space.parquet", "kernel-tuner.json", "t4.json"):
        read = tuning.read_measurements(tmp_path / name)
        times = {tuple(read.space.decode(c).values()): read.time(c) for c in read.codes.tolist()}
        assert len(times) == 11
        for (a, b), time in times.items():
            assert time == (np.inf if a == 2 else known_time({"a": a, "b": b, "c": 0}))
        assert tuning.Replay(read).optimum == tuned.trace.best_time
    kept = tuning.read_measurements(tmp_path / "space.parquet")
    assert kept.space.constraints == ("a + b < 7",)
    assert kept.about["settings"] == {"n": 5}
    assert kept.about["statistic"] == "median of repeated runs"


def test_a_function_as_constraint_leaves_the_other_files(tmp_path):
    space = tuning.SearchSpace({"a": [1, 2, 3], "b": [1, 2]}, [lambda given: given["a"] > 1])
    objective, _ = counted(space)
    tuning.tune(objective, tuning.BruteForce(), tmp_path, budget=10)
    assert not (tmp_path / "space.parquet").exists()
    assert len(tuning.read_measurements(tmp_path / "t4.json").codes) == 4


def test_nothing_that_runs_is_an_error_that_says_why(tmp_path):
    objective, _ = counted(SPACE, fail=(1, 2, 3, 4))
    with pytest.raises(RunError, match=r"runtime: RuntimeError: no.*choose another folder"):
        tuning.tune(objective, tuning.RandomSampling(), tmp_path, budget=3)
    assert len((tmp_path / LINES).read_text().splitlines()) == 3


def test_another_size_is_refused(tmp_path):
    objective = in_process()
    tuning.tune(objective, tuning.RandomSampling(), tmp_path, budget=3, settings={"n": 5})
    with pytest.raises(RunError, match=r"settings\.n was 5, now 6"):
        tuning.tune(objective, tuning.RandomSampling(), tmp_path, budget=3, settings={"n": 6})


def test_what_cannot_be_minimised_is_told():
    objective = in_process()
    with pytest.raises(ConfigError, match=r"FirstILS was given as a class; FirstILS\(\) is wanted"):
        inspect.unwrap(tuning.minimize)(objective, tuning.FirstILS, budget=3)
    with pytest.raises(ConfigError, match=r"known_time.*Callable\(function, space\)"):
        inspect.unwrap(tuning.minimize)(known_time, tuning.FirstILS(), budget=3)
