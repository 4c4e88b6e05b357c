"""The prune-and-retrain loop: stages, counts, run folders, resuming."""

import functools
import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

from leanline.errors import CheckpointError, ConfigError, RunError
from leanline.masks import get_channel_masks, get_masks
from leanline.models import MSD
from leanline.pruning import Lean, Magnitude, Schedule, load_stage, prune, read_stages, summary
from leanline.records.run import RunFolder
from leanline.training import Retrain, TrainingConfig

EXAMPLE = torch.zeros(1, 1, 12, 12)
SCHEDULE = Schedule(keep=0.3, steps=3)
TOTAL = 15  # filters of five layers: 1 + 2 + ... + 5


class Pictures:
    """Noise with a bright right part."""

    task, in_channels, out_channels = "segmentation", 1, 2

    def split(self, name):
        generator = torch.Generator().manual_seed(len(name))
        labels = torch.zeros(4, 12, 12, dtype=torch.int64)
        for index in range(4):
            labels[index, :, 4 + index :] = 1
        images = labels[:, None] + 0.3 * torch.randn(4, 1, 12, 12, generator=generator)
        return list(zip(images, labels, strict=True))


def network(depth=5):
    return MSD(depth, 1, 2, seed=3)


def retrain(iterations=4):
    return Retrain(Pictures(), TrainingConfig(iterations=iterations, batch_size=2, lr=0.01))


def shrink(model):
    """Retraining that depends on nothing: all weights a little smaller."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.9)


def same(one, other):
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_stages_keep_what_the_schedule_says():
    model = network()
    stages = list(prune(model, EXAMPLE, retrain(), schedule=SCHEDULE))
    assert [stage.index for stage in stages] == [1, 2, 3]
    assert [stage.keep for stage in stages] == pytest.approx([0.3 ** (k / 3) for k in (1, 2, 3)])
    for stage, count in zip(stages, SCHEDULE.counts(TOTAL), strict=True):
        assert count <= stage.kept_filters <= count + 4  # a filter may bring others alive
        assert {"train_loss", "loss", "accuracy"} <= stage.metrics.keys()
        assert stage.seconds > 0
        assert not stage.resumed
    found = summary(model, EXAMPLE)
    assert found.filters.after == found.kept == stages[-1].kept_filters
    assert found.filters.before == TOTAL


def test_retraining_never_revives_a_filter():
    model, seen = network(), []

    def watched(model):
        shrink(model)
        seen.append({name: mask.clone() for name, mask in get_masks(model).items()})

    list(prune(model, EXAMPLE, watched, Magnitude(), SCHEDULE))
    for before, after in itertools.pairwise(seen):
        assert all(not (after[name] & ~before[name]).any() for name in before)


def test_finetune_of_one_or_two_arguments():
    calls = []

    def one(model):
        calls.append("one")

    def two(model, stage):
        calls.append((stage.index, stage.kept_filters))

    def optional(model, epochs=3):
        calls.append(epochs)

    def named(model, stage=None):
        calls.append(stage.index)

    class Callable:
        def __call__(self, model, *rest):
            calls.append(len(rest))

    for function in (one, two, optional, named, Callable(), functools.partial(optional, epochs=2)):
        (stage,) = prune(network(), EXAMPLE, function, schedule=Schedule(0.5))
        assert stage.metrics == {}
    assert calls == ["one", (1, stage.kept_filters), 3, 1, 1, 2]


def test_metrics_are_numbers(tmp_path):
    (stage,) = prune(
        network(), EXAMPLE, lambda model: {"a": torch.tensor(0.5), "b": math.inf},
        schedule=Schedule(0.5), out=tmp_path / "x",
    )  # fmt: skip
    assert stage.metrics == {"a": 0.5, "b": math.inf}
    assert read_stages(RunFolder.read(tmp_path / "x"))[0].metrics == stage.metrics
    for wrong in ({"a": "high"}, {"a": None}, [0.5], 0.5):
        with pytest.raises(ConfigError, match="numbers by name"):
            list(
                prune(network(), EXAMPLE, lambda model, wrong=wrong: wrong, schedule=Schedule(0.5))
            )


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_resumed_runs_end_with_the_same_weights(tmp_path, stop):
    whole = network()
    straight = list(prune(whole, EXAMPLE, retrain(), schedule=SCHEDULE, out=tmp_path / "whole"))
    first, out = network(), tmp_path / "parts"
    for stage in prune(first, EXAMPLE, retrain(), schedule=SCHEDULE, out=out):
        if stage.index == stop:
            break
    del stage
    second = network()
    stages = list(prune(second, EXAMPLE, retrain(), schedule=SCHEDULE, out=out))
    assert [stage.resumed for stage in stages] == [index <= stop for index in (1, 2, 3)]
    assert [s.kept_filters for s in stages] == [s.kept_filters for s in straight]
    assert [s.metrics for s in stages] == [s.metrics for s in straight]
    assert same(whole, second)
    assert get_channel_masks(whole).keys() == get_channel_masks(second).keys()
    assert [file.name for file in (out / "checkpoints").iterdir()] == ["stage-3.safetensors"]
    loaded = network()
    state = load_stage(RunFolder.read(out), loaded)
    assert same(whole, loaded)
    assert int(state["step"]) == 12


def test_the_state_of_finetune_is_restored(tmp_path):
    class Counting:
        def __init__(self):
            self.calls = torch.tensor(0)

        def __call__(self, model):
            self.calls += 1
            return {"calls": self.calls}

        def state_dict(self):
            return {"calls": self.calls}

        def load_state_dict(self, state):
            self.calls = state["calls"].clone()

    list(zip(range(2), _stages(Counting(), tmp_path), strict=False))
    assert [stage.metrics["calls"] for stage in _stages(Counting(), tmp_path)] == [1, 2, 3]

    class Wrong(Counting):
        def state_dict(self):
            return {"calls": 3}

    with pytest.raises(ConfigError, match="'calls' of type int"):
        list(_stages(Wrong(), tmp_path / "wrong"))


def _stages(finetune, out):
    return prune(network(), EXAMPLE, finetune, schedule=SCHEDULE, out=out)


def test_random_numbers_in_finetune_repeat(tmp_path):
    def noisy(model):
        with torch.no_grad():
            model.final.bias.add_(torch.rand(2))

    results = []
    for out, other in ((None, 1), (tmp_path, 2), (tmp_path, 3)):
        torch.manual_seed(other)
        before, model = torch.random.get_rng_state(), network()
        for stage in prune(model, EXAMPLE, noisy, schedule=SCHEDULE, out=out):
            assert torch.equal(torch.random.get_rng_state(), before)
            if other == 2 and stage.index == 2:
                break
        if other != 2:
            results.append(model)
    assert same(*results)


def test_foreign_folders_are_refused(tmp_path):
    common = {"schedule": SCHEDULE, "about": {"data": "a"}, "out": tmp_path}
    list(prune(network(), EXAMPLE, shrink, **common))
    for change, word in (
        ({"schedule": Schedule(0.3, 2)}, "schedule.steps was 3, now 2"),
        ({"criterion": Magnitude()}, "criterion"),
        ({"seed": 1}, "seed was 0, now 1"),
        ({"about": {"data": "b"}}, 'data was "a", now "b"'),
        ({"ignore": ("convs.0",)}, "ignore"),
    ):
        with pytest.raises(RunError, match=word):
            list(prune(network(), EXAMPLE, shrink, **{**common, **change}))
    with pytest.raises(RunError, match="finetune was"):
        list(prune(network(), EXAMPLE, retrain(), **common))
    with pytest.raises(RunError, match="initial_weights was"):
        list(prune(network(6), EXAMPLE, shrink, **common))
    with pytest.raises(RunError, match="already holds 3 stages"):
        list(prune(network(), EXAMPLE, shrink, resume=False, **common))
    list(prune(network(), EXAMPLE, shrink, criterion=Lean(), **common))


def test_wrong_arguments_leave_no_folder(tmp_path):
    with pytest.raises(ConfigError, match="nothing"):
        list(prune(network(), EXAMPLE, shrink, ignore=("nothing",), out=tmp_path / "x"))
    assert not (tmp_path / "x").exists()
    with pytest.raises(ConfigError, match="keep"):
        Schedule(0)
    with pytest.raises(ConfigError, match="steps"):
        Schedule(0.5, 0)


def test_ignored_modules_keep_their_filters(tmp_path):
    model = network()
    list(prune(model, EXAMPLE, shrink, schedule=Schedule(0.2, 2), ignore=("convs.4",)))
    assert "convs.4.weight" not in get_masks(model)
    assert not (model.convs[4].weight == 0).all(dim=(2, 3)).any()


def test_checkpoints_of_another_network_are_refused(tmp_path):
    list(prune(network(), EXAMPLE, shrink, schedule=SCHEDULE, out=tmp_path))
    run = RunFolder.read(tmp_path)
    for other in (network(4), network(6), nn.Conv2d(1, 1, 3)):
        with pytest.raises(CheckpointError, match="another network"):
            load_stage(run, other)
    RunFolder.open(tmp_path / "empty", {}).close()
    with pytest.raises(CheckpointError, match="no stage is done"):
        load_stage(RunFolder.read(tmp_path / "empty"), network())


def test_networks_that_are_masked_already(tmp_path):
    def masked():
        model = network()
        mask = torch.ones(1, 3, 3, 3)
        mask[:, 1] = 0
        torch_prune.custom_from_mask(model.convs[2], "weight", mask)
        return model

    whole, again = masked(), masked()
    list(prune(whole, EXAMPLE, shrink, schedule=SCHEDULE))
    list(
        zip(
            range(2),
            prune(masked(), EXAMPLE, shrink, schedule=SCHEDULE, out=tmp_path),
            strict=False,
        )
    )
    list(prune(again, EXAMPLE, shrink, schedule=SCHEDULE, out=tmp_path))
    assert same(whole, again)
    assert not get_masks(whole)["convs.2.weight"][0, 1]


class Blocks(nn.Module):
    """Two equal layers with batch norm, of which one may be ignored."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6)
        self.second, self.third, self.last = (nn.Conv2d(6, n, 3) for n in (6, 6, 1))

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        return self.last(torch.relu(self.third(torch.relu(self.second(x)))))


def blocks():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Blocks()


def test_other_ignored_modules_or_sizes_are_another_run(tmp_path):
    model, out = blocks(), tmp_path / "run"
    next(prune(model, EXAMPLE, shrink, schedule=SCHEDULE, out=out, ignore=[model.second]))
    again = blocks()
    with pytest.raises(RunError, match="ignore was"):
        list(prune(again, EXAMPLE, shrink, schedule=SCHEDULE, out=out, ignore=[again.third]))
    larger = torch.zeros(1, 1, 14, 14)
    with pytest.raises(RunError, match="example_inputs was"):
        list(prune(again, larger, shrink, schedule=SCHEDULE, out=out, ignore=[again.second]))
    assert (
        len(list(prune(again, EXAMPLE, shrink, schedule=SCHEDULE, out=out, ignore="second"))) == 3
    )


def test_parameters_come_in_the_same_order_after_a_resume(tmp_path):
    schedule = Schedule(keep=0.1, steps=2)
    whole, begun, resumed = blocks(), blocks(), blocks()
    assert len(list(prune(whole, EXAMPLE, shrink, schedule=schedule))) == 2
    next(prune(begun, EXAMPLE, shrink, schedule=schedule, out=tmp_path))
    assert len(list(prune(resumed, EXAMPLE, shrink, schedule=schedule, out=tmp_path))) == 2
    assert get_channel_masks(whole).keys() >= {"norm.weight", "norm.bias"}
    assert list(whole.state_dict()) == list(resumed.state_dict())
    assert same(whole, resumed)


def test_a_model_with_a_state_that_is_no_tensor_needs_no_folder(tmp_path):
    class Extra(Blocks):
        def get_extra_state(self):
            return {"count": 1}

        def set_extra_state(self, state):
            pass

    with pytest.raises(
        ConfigError, match=r"model\.state_dict\(\) holds '_extra_state' of type dict"
    ):
        list(prune(Extra(), EXAMPLE, shrink, schedule=SCHEDULE, out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    assert len(list(prune(Extra(), EXAMPLE, shrink, schedule=SCHEDULE))) == 3
