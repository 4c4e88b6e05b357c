"""Stop rules, which stage is delivered, and that a resumed run delivers the same."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune as torch_prune

from leanline.errors import CheckpointError, ConfigError, RunError
from leanline.masks import baked_copy, get_channel_masks, get_masks
from leanline.models import MSD
from leanline.pruning import (
    AtFilters,
    AtMetricDrop,
    AtSpeedup,
    Goal,
    Schedule,
    Stage,
    delivered,
    load_stage,
    prune,
    read_stages,
    stop_rules,
)
from leanline.pruning.speed import Speed, measure_speed
from leanline.records.run import RunFolder

EXAMPLE = torch.randn(1, 1, 12, 12, generator=torch.Generator().manual_seed(0))
SCHEDULE = Schedule(keep=0.2, steps=4)


def network() -> nn.Module:
    return MSD(5, 1, 2, seed=3)


class Scripted:
    """Retraining that shrinks all weights, with a state, and metrics that are given."""

    def __init__(self, *accuracies: float, dense: float = 0.9) -> None:
        self.accuracies, self.dense = accuracies, dense
        self.calls = torch.tensor(0)

    def __call__(self, model: nn.Module, stage) -> dict[str, float]:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(0.9).add_(0.01 * torch.rand(()))
        self.calls += 1
        return {"accuracy": self.accuracies[stage.index - 1]}

    def judge(self, model: nn.Module) -> dict[str, float]:
        return {"accuracy": self.dense}

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"calls": self.calls}

    def load_state_dict(self, state) -> None:
        self.calls = state["calls"].clone()

    @property
    def description(self):
        return {"kind": "scripted"}


def same(one: nn.Module, other: nn.Module) -> bool:
    first, second = baked_copy(one).state_dict(), baked_copy(other).state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@functools.cache
def straight() -> tuple[nn.Module, ...]:
    """The network before the first stage and after each one of a run without a goal."""
    model = network()
    run = prune(model, EXAMPLE, Scripted(0.9, 0.9, 0.9, 0.9), schedule=SCHEDULE)
    return network(), *(baked_copy(model) for _ in run)


def drop(at_most: float = 0.02) -> AtMetricDrop:
    return AtMetricDrop("accuracy", at_most)


CASES = {
    # accuracies of the stages, patience -> stages done, stage delivered
    "never broken": ((0.90, 0.89, 0.89, 0.885), 1, 4, 4),
    "broken at once": ((0.80, 0.89, 0.89, 0.89), 1, 1, 0),
    "broken later": ((0.90, 0.89, 0.80, 0.89), 1, 3, 2),
    "recovers": ((0.90, 0.80, 0.89, 0.80), 2, 4, 3),
    "does not recover": ((0.90, 0.80, 0.80, 0.89), 2, 3, 1),
    "not a number": ((0.90, math.nan, 0.89, 0.89), 1, 2, 1),
}


@pytest.mark.parametrize(
    ("case", "place"),
    [
        *((case, "memory") for case in CASES),
        *((case, "folder") for case in ("broken at once", "recovers", "not a number")),
    ],
)
def test_what_is_delivered(tmp_path, case: str, place: str) -> None:
    accuracies, patience, done, deliver = CASES[case]
    goal = Goal((drop(),), patience)
    model, finetune = network(), Scripted(*accuracies)
    out = tmp_path / "run" if place == "folder" else None
    stages = list(prune(model, EXAMPLE, finetune, schedule=SCHEDULE, out=out, goal=goal))
    assert len(stages) == done
    outcome = goal.outcome(stages)
    assert outcome.deliver == deliver
    assert outcome.finished == (done < 4 or (patience == 1 and case != "never broken"))
    assert same(model, straight()[deliver])
    assert int(finetune.calls) == deliver
    if out is not None:
        run = RunFolder.read(out)
        assert delivered(run) == deliver
        assert run.stages[-1]["reason"] == outcome.reason
        files = {file.stem for file in run.checkpoints.iterdir()}
        assert files == {f"stage-{deliver}", f"stage-{done}"}
        fresh = network()
        with torch.no_grad():
            fresh.final.bias.add_(1.0)
        load_stage(run, fresh)
        assert same(fresh, model)


@pytest.mark.parametrize(
    ("case", "stop"), [("never broken", 2), ("broken at once", 1), ("recovers", 2), ("recovers", 3)]
)
def test_resumed_runs_deliver_the_same(tmp_path, case: str, stop: int) -> None:
    accuracies, patience, done, deliver = CASES[case]
    arguments = {"schedule": SCHEDULE, "out": tmp_path, "goal": Goal((drop(),), patience)}
    for stage in prune(network(), EXAMPLE, Scripted(*accuracies), **arguments):
        if stage.index == stop:
            break
    del stage
    for _ in range(2):  # the second time the run is finished already
        model, finetune = network(), Scripted(*accuracies, dense=0.1)  # the record counts
        stages = list(prune(model, EXAMPLE, finetune, **arguments))
        assert len(stages) == done
        assert same(model, straight()[deliver])
        assert int(finetune.calls) == deliver
    with pytest.raises(RunError, match="goal"):
        list(prune(network(), EXAMPLE, finetune, schedule=SCHEDULE, out=tmp_path))


def test_a_target_ends_the_run_and_limits_hold(monkeypatch, tmp_path) -> None:
    speeds = iter([2.0, 5.0, 11.0, 20.0])
    threads = []

    def measure(dense, pruned, inputs, count, seconds) -> Speed:
        assert same(dense, network())
        threads.append(count)
        speed = next(speeds)
        return Speed(speed, 100 / speed)

    monkeypatch.setattr(stop_rules, "measure_speed", measure)
    accuracies = (0.9, 0.9, 0.885, 0.9)
    goal = Goal((AtSpeedup(10, threads=2), drop(), AtFilters(14)))
    model = network()
    stages = list(prune(model, EXAMPLE, Scripted(*accuracies), schedule=SCHEDULE,
                        out=tmp_path, goal=goal))  # fmt: skip
    assert [s.measured["speedup_2_threads"] for s in stages] == [2.0, 5.0, 11.0]
    assert [s.measured["milliseconds_2_threads"] for s in stages] == [50.0, 20.0, 100 / 11]
    assert threads == [2, 2, 2]
    outcome = goal.outcome(stages)
    assert (outcome.deliver, outcome.finished) == (3, True)
    assert "11.0 times as fast (wanted: at least 10)" in outcome.reason
    assert "accuracy 0.885, 0.015 worse (allowed: 0.02)" in outcome.reason
    assert same(model, straight()[3])
    # what was measured is read, not measured again: `speeds` has one value left
    again = list(prune(network(), EXAMPLE, Scripted(*accuracies), schedule=SCHEDULE,
                       out=tmp_path, goal=goal))  # fmt: skip
    assert [s.measured for s in again] == [s.measured for s in stages]
    assert read_stages(RunFolder.read(tmp_path))[0].measured["dense.accuracy"] == 0.9
    assert next(speeds) == 20.0


@given(
    st.lists(
        st.tuples(st.sampled_from([0.5, 0.9]), st.sampled_from([1.0, 3.0]), st.integers(5, 15)),
        max_size=8,
    ),
    st.integers(1, 3),
)
@settings(max_examples=200, deadline=None)
def test_outcomes_by_hand(rows: list[tuple[float, float, int]], patience: int) -> None:
    goal = Goal((drop(0.1), AtSpeedup(2.0), AtFilters(10)), patience)
    stages = [
        Stage(i, 0.5, kept, {"accuracy": a}, measured={"speedup": s, "dense.accuracy": 0.9})
        for i, (a, s, kept) in enumerate(rows, start=1)
    ]
    good = [a == 0.9 for a, _, _ in rows]
    done = [g and s == 3.0 and kept <= 10 for g, (_, s, kept) in zip(good, rows, strict=True)]
    want, finished = 0, False
    for index in range(1, len(rows) + 1):
        if done[index - 1]:
            want, finished = index, True
        elif index >= patience and not any(good[index - patience : index]):
            want = max((i for i in range(1, index) if good[i - 1]), default=0)
            finished = True
        if finished:
            break
    else:
        want = max((i for i in range(1, len(rows) + 1) if good[i - 1]), default=0)
    outcome = goal.outcome(stages)
    assert (outcome.deliver, outcome.finished) == (want, finished)
    assert outcome.reason


def test_metrics_of_which_lower_is_better_and_given_references() -> None:
    rule = AtMetricDrop("loss", 0.1, better="lower", reference=0.5)
    assert Goal((rule,)).metrics == ()
    stages = [Stage(i, 0.5, 5, {"loss": loss}) for i, loss in enumerate((0.4, 0.59, 0.61), 1)]
    assert Goal((rule,)).outcome(stages).deliver == 2
    assert Goal((rule,)).outcome(stages).finished


def test_networks_with_masks_and_batch_norm_get_back_what_they_had() -> None:
    def make() -> nn.Sequential:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = nn.Sequential(
                nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.ReLU(),
                nn.Conv2d(6, 2, 1),
            )  # fmt: skip
        mask = torch.ones(6, 6, 3, 3)
        mask[:, 2] = 0
        torch_prune.custom_from_mask(model[3], "weight", mask)
        return model

    for accuracies, deliver in (((0.1, 0.1), 0), ((0.9, 0.1), 1)):
        model = make()
        list(prune(model, EXAMPLE, Scripted(*accuracies), schedule=Schedule(0.1, 2),
                   goal=Goal((drop(),))))  # fmt: skip
        want = make()
        for stage in prune(want, EXAMPLE, Scripted(*accuracies), schedule=Schedule(0.1, 2)):
            if deliver and stage.index == deliver:
                break
        if not deliver:
            want = make()
            assert not get_channel_masks(model)
        assert same(model, want)
        assert not get_masks(model)["3.weight"][:, 2].any()


def test_what_cannot_be_measured_is_refused_before_the_first_stage() -> None:
    def function(model: nn.Module) -> dict[str, float]:
        raise AssertionError("no stage may begin")

    with pytest.raises(ConfigError, match=r"no method judge.*reference"):
        list(prune(network(), EXAMPLE, function, schedule=SCHEDULE, goal=Goal((drop(),))))
    with pytest.raises(
        ConfigError, match="the goal is about 'f1', which is not judged; there is accuracy"
    ):
        list(prune(network(), EXAMPLE, Scripted(), schedule=SCHEDULE,
                   goal=Goal((AtMetricDrop("f1", 0.1),))))  # fmt: skip
    missing = Goal((AtMetricDrop("f1", 0.1, reference=0.5),))
    with pytest.raises(ConfigError, match="has no 'f1' to stop by; it has accuracy"):
        list(prune(network(), EXAMPLE, Scripted(0.9), schedule=SCHEDULE, goal=missing))


def test_wrong_settings_are_refused() -> None:
    for make, text in (
        (lambda: Goal(()), "give rules"),
        (lambda: Goal((drop(),), 0), "patience=0"),
        (lambda: AtSpeedup(1.0), "above 1"),
        (lambda: AtSpeedup(math.inf), "above 1"),
        (lambda: AtSpeedup(2.0, threads=0), "at least one thread"),
        (lambda: AtFilters(0), "at least one filter"),
        (lambda: drop(-1.0), "must not be negative"),
    ):
        with pytest.raises(ConfigError, match=text):
            make()


def test_removed_checkpoints_are_told(tmp_path) -> None:
    list(prune(network(), EXAMPLE, Scripted(0.9, 0.9, 0.1, 0.1), schedule=SCHEDULE, out=tmp_path,
               goal=Goal((drop(),))))  # fmt: skip
    with pytest.raises(CheckpointError):
        load_stage(RunFolder.read(tmp_path), network(), 1)


def test_speed_is_measured_on_copies() -> None:
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    threads = torch.get_num_threads()
    found = measure_speed(network(), model, EXAMPLE, threads=1, seconds=0.0)
    assert found.speedup > 0
    assert found.milliseconds > 0
    assert torch.get_num_threads() == threads
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_several_processes_cannot_prune_to_a_speed() -> None:
    class Together(Scripted):
        processes, rank = 2, 0

    run = prune(network(), EXAMPLE, Together(0.9), goal=Goal((AtSpeedup(2.0),)))
    with pytest.raises(ConfigError, match="2 processes: each would measure another speed"):
        next(iter(run))
