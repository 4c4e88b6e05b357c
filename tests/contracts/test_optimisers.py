"""What every optimiser must keep to, and every new one: add it to the list."""

import dataclasses

import numpy as np
import pytest

from leanline import tuning
from leanline.tuning.optimisers.base import Optimiser
from tuning_spaces import measured, replay, small_space

OPTIMISERS = [
    tuning.BruteForce(),
    tuning.RandomSampling(),
    tuning.FirstMLS(),
    tuning.FirstMLS("adjacent", "continue"),
    tuning.BestMLS(),
    tuning.FirstILS(),
    tuning.BestILS(),
    tuning.FirstTabu(),
    tuning.FirstTabu(tabu_size=4),
    tuning.BestTabu(neighbourhood="adjacent"),
    tuning.SimulatedAnnealing(),
    tuning.SimulatedAnnealing(climb="none"),
    tuning.GeneticAlgorithm(population=6),
    tuning.GeneticLocalSearch(population=5, crossover="uniform"),
    tuning.ParticleSwarm(particles=5, neighbours=3),
    tuning.DifferentialEvolution(population=1),
    tuning.DualAnnealing(),
    tuning.BasinHopping(),
    tuning.GaussianProcess(initial=4),
]
PROTOCOLS = ["paper", "valid"]


def label(optimiser: Optimiser) -> str:
    return repr(optimiser).replace("'", "")[:60]


def test_every_optimiser_is_in_the_list():
    named = [getattr(tuning, name) for name in tuning.__all__]
    kinds = {
        each
        for each in named
        if isinstance(each, type) and issubclass(each, Optimiser) and not each.__abstractmethods__
    }
    slow = {tuning.SMAC}  # tests/tuning/test_smac.py
    assert kinds - slow == {type(each) for each in OPTIMISERS}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("optimiser", OPTIMISERS, ids=label)
def test_contract(optimiser, protocol):
    constrained = replay()
    space, measurements = constrained.space, constrained.measurements
    for budget in (1, 2, 7, 30):
        trace = tuning.minimize(constrained, optimiser, budget=budget, seed=3, protocol=protocol)
        assert trace.evaluations <= budget
        assert trace.evaluations == len(set(trace.codes.tolist())), "a duplicate was counted"
        expected = [measurements.time(int(code)) for code in trace.codes]
        assert trace.times.tolist() == expected
        assert trace.best_time == min(expected)
        if np.isfinite(trace.best_time):
            assert trace.best_code == trace.codes[np.argmin(trace.times)]
            assert space.is_valid(np.array([trace.best_code])).all()
        else:
            assert trace.best_code is None and trace.fraction_of_optimum == 0
        if protocol == "valid":
            assert space.is_valid(trace.codes).all()
        again = tuning.minimize(constrained, optimiser, budget=budget, seed=3, protocol=protocol)
        assert again.codes.tolist() == trace.codes.tolist()
        assert again.times.tobytes() == trace.times.tobytes()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("optimiser", OPTIMISERS, ids=label)
def test_a_measured_function_is_searched_like_its_replay(optimiser, protocol):
    known = replay()
    calls = []

    def function(configuration):
        code = known.space.encode(configuration)
        calls.append(code)
        return known.measure(code)

    objective = tuning.Callable(function, known.space)
    trace = tuning.minimize(objective, optimiser, budget=25, seed=1, protocol=protocol)
    assert trace.evaluations <= 25
    assert len(calls) == len(set(calls)) <= 25, "measured twice"
    assert known.space.is_valid(np.array(calls)).all(), "what breaks a constraint was run"
    replayed = tuning.minimize(known, optimiser, budget=25, seed=1, protocol=protocol)
    shared = min(len(replayed.codes), len(trace.codes))  # the replay stops at the optimum
    assert trace.codes[:shared].tolist() == replayed.codes[:shared].tolist()
    assert np.isnan(trace.fraction_of_optimum) or trace.best_code is None


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("optimiser", OPTIMISERS, ids=label)
@pytest.mark.parametrize("parameters", [{"a": [1]}, {"a": [3], "b": [1, 2]}], ids=["one", "two"])
def test_tiny_spaces_end(optimiser, protocol, parameters):
    space = tuning.SearchSpace(parameters)
    objective = tuning.Callable(lambda row: 1.0 + row["a"], space)
    trace = tuning.minimize(objective, optimiser, budget=50, protocol=protocol)
    assert 1 <= trace.evaluations <= space.cartesian_size
    assert trace.best_time == 1.0 + parameters["a"][0]
    assert trace.ended in ("space exhausted", "finished", "nothing new")


@pytest.mark.parametrize("optimiser", OPTIMISERS, ids=label)
def test_a_space_where_everything_fails(optimiser):
    objective = tuning.Callable(lambda row: float("inf"), small_space())
    trace = tuning.minimize(objective, optimiser, budget=20)
    assert trace.evaluations <= 20
    assert trace.best_config is None and trace.best_time == np.inf


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("optimiser", OPTIMISERS, ids=label)
def test_hashed_tables_change_nothing(optimiser, protocol, monkeypatch):
    asked = dict(budget=30, seed=5, protocol=protocol)
    dense = tuning.minimize(replay(), optimiser, **asked)
    monkeypatch.setattr("leanline.tuning.problem.DENSE", 0)  # as in a space too large for a table
    hashed = tuning.minimize(replay(), optimiser, **asked)
    assert hashed.codes.tolist() == dense.codes.tolist()
    assert (hashed.best_code, hashed.ended) == (dense.best_code, dense.ended)


@pytest.mark.parametrize("optimiser", OPTIMISERS, ids=label)
def test_parameters_without_a_choice_change_nothing(optimiser):
    measurements = measured(small_space())
    lists = dict(zip(measurements.space.names, measurements.space.values, strict=True))
    longer = tuning.SearchSpace({"one": [7], **lists, "other": ["z"]}, small_space().constraints)
    asked = dict(budget=25, seed=2, protocol="paper")
    short = tuning.minimize(tuning.Replay(measurements), optimiser, **asked)
    same = tuning.Replay(dataclasses.replace(measurements, space=longer))
    assert tuning.minimize(same, optimiser, **asked).codes.tolist() == short.codes.tolist()


def test_drawn_times_are_among_the_measured_ones_and_means_judge():
    measurements = measured(small_space(), failing=0)
    drawn = tuning.Replay(measurements, times="drawn")
    traces = [
        tuning.minimize(drawn, tuning.RandomSampling(), budget=20, seed=seed) for seed in range(8)
    ]
    seen = set()
    for trace in traces:
        rows = np.searchsorted(measurements.codes, trace.codes)
        assert (measurements.samples[rows] == trace.times[:, None]).any(axis=1).all()
        assert trace.best_time == measurements.time(trace.best_code)
        seen |= set(zip(trace.codes.tolist(), trace.times.tolist(), strict=True))
    assert len(seen) > len({code for code, _ in seen}), "the same time is drawn in every run"
