"""Batch-norm statistics against those computed by hand."""

import inspect

import torch
from torch import nn

from leanline.cli.prune import prune
from leanline.training import Retrain, TrainingConfig
from leanline.training.batch_norm import reestimate
from leanline.training.retrain import BATCH_NORM_BATCHES

from .small_data import Blobs


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Conv2d(4, 4, 3, padding=1),
            nn.BatchNorm2d(4, momentum=0.3),
            nn.BatchNorm2d(4, track_running_stats=False),
            nn.Conv2d(4, 2, 1),
        )


def statistics(images):
    """Mean and unbiased variance of each channel of a batch."""
    flat = images.transpose(0, 1).flatten(1)
    return flat.mean(1), flat.var(1, unbiased=True)


def test_statistics_are_the_mean_over_the_batches():
    model, batches = network(), [torch.randn(3, 1, 8, 8) * k for k in (1, 2, 5)]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    model[3].eval()
    reestimate(model, iter(batches))
    assert model.training
    assert not model[3].training
    assert [model[1].momentum, model[5].momentum] == [0.1, 0.3]
    first, second = [], []
    with torch.no_grad():
        for images in batches:
            out = model[0](images)
            mean, variance = statistics(out)
            first.append((mean, variance))
            biased = out.transpose(0, 1).flatten(1).var(1, unbiased=False)
            shape = (1, -1, 1, 1)
            normed = (out - mean.view(shape)) / (biased.view(shape) + 1e-5).sqrt()
            second.append(statistics(model[4](torch.relu(normed))))  # no dropout
    for layer, rows in ((model[1], first), (model[5], second)):
        torch.testing.assert_close(layer.running_mean, sum(r[0] for r in rows) / 3)
        torch.testing.assert_close(layer.running_var, sum(r[1] for r in rows) / 3)
    after = model.state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == {f"{k}.running_{what}" for k in (1, 5) for what in ("mean", "var")}


def test_networks_without_batch_norm_are_not_run():
    def fail():
        raise AssertionError
        yield

    reestimate(nn.Sequential(nn.Conv2d(1, 1, 3)), fail())


def test_retraining_measures_before_it_trains_and_repeats():
    config = TrainingConfig(iterations=0, batch_size=2)
    models = [network() for _ in range(3)]
    for model, count in zip(models, (0, 2, 2), strict=True):
        Retrain(Blobs(), config, batch_norm_batches=count)(model)
    assert models[0][1].running_mean.abs().sum() == 0
    assert models[1][1].running_mean.abs().sum() > 0
    for name, value in models[1].state_dict().items():
        assert torch.equal(value, models[2].state_dict()[name]), name


def test_measured_anew_unless_told_otherwise():
    """The command's default is that of Python."""
    of_command = inspect.signature(prune).parameters["batch_norm_batches"].default
    assert Retrain(Blobs()).batch_norm_batches == of_command == BATCH_NORM_BATCHES > 0
