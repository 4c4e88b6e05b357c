"""Random filters are the fraction of every layer that was asked for, and alive."""

import pytest
import torch
from benchmarks.limits import Limits
from benchmarks.random_filters import random_filters
from benchmarks.work import work_of
from benchmarks.workloads import LEAN, MSD50, MSD100, RANDOM, UNET, variants
from torch import nn

import leanline as ll
from leanline.graph import trace_program
from leanline.graph.liveness import find_live
from leanline.models import MSD, UNet4

IMAGE = torch.zeros(1, 1, 32, 32)


def msd() -> nn.Module:
    return MSD(20, 1, 3).eval()


def unet() -> nn.Module:
    return UNet4(1, 2, width=16).eval()


@pytest.mark.parametrize("make", [msd, unet])
@pytest.mark.parametrize("keep", [0.1])
def test_random_filters_are_a_fraction_of_each_layer(make: object, keep: float) -> None:
    assert callable(make)
    model = make()
    masks = random_filters(model, IMAGE, keep, seed=3)
    assert "final.weight" not in masks
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(masks) == len(layers) - 1
    state = model.state_dict()
    wanted = kept = 0
    for name, mask in masks.items():
        assert mask.shape == state[name].shape[:2]
        count = round(keep * mask.numel())
        assert int(mask.sum()) <= count
        wanted, kept = wanted + count, kept + int(mask.sum())
    assert kept >= 0.9 * wanted  # fewer only where too few channels are alive
    again = random_filters(model, IMAGE, keep, seed=3)
    assert all(torch.equal(masks[name], again[name]) for name in masks)


@pytest.mark.parametrize("make", [msd, unet])
def test_random_filters_survive_cleaning_as_a_rule(make: object) -> None:
    assert callable(make)
    model = make()
    masks = random_filters(model, IMAGE, 0.1)
    ll.apply_masks(model, masks)
    live = find_live(trace_program(model, IMAGE)).filters
    kept = sum(int(mask.sum()) for mask in masks.values())
    assert 0.9 * kept <= sum(int(live[name].sum()) for name in masks) <= kept


def test_random_filters_refuse_what_they_cannot_follow() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(1, 4, 3), nn.Conv2d(1, 4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.one(x) + self.two(x)  # type: ignore[no-any-return]

    with pytest.raises(ValueError, match="add"):
        random_filters(Sum(), IMAGE, 0.5)


def test_work_counts_the_multiply_adds_of_the_summary() -> None:
    model = msd()
    assert work_of(model, IMAGE).multiply_adds == ll.summary(model, IMAGE).macs.before
    ll.apply_masks(model, random_filters(model, IMAGE, 0.1))
    ll.clean(model, IMAGE)
    assert work_of(model, IMAGE).multiply_adds == ll.summary(model, IMAGE).macs.after


def test_work_of_a_small_network_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 3, 1))
    found = work_of(model, torch.zeros(1, 1, 10, 20))
    assert found.multiply_adds == 200 * (2 * 9 + 6)
    # two filters read a plane, two planes are written; a 1 x 1 layer reads each once, writes three
    planes, taps, biases = 2 + 2 + 2 + 3, 2 * 9 + 6, 2 + 3
    assert found.bytes == 4 * (planes * 200 + taps + biases)
    milliseconds = found.milliseconds(Limits(1, 1e9, 2e9, 1e9))
    assert milliseconds == {
        "arithmetic": pytest.approx(200 * 24 * 1e-6),
        "bytes": pytest.approx(found.bytes / 2e6),
    }


def test_work_of_a_transposed_convolution_by_hand() -> None:
    found = work_of(nn.ConvTranspose2d(2, 3, 2, stride=2), torch.zeros(1, 2, 5, 6))
    assert found.multiply_adds == 2 * 3 * 4 * 30
    assert found.bytes == 4 * (6 * 30 + 3 * 120 + 6 * 4 + 3)


def test_each_network_is_pruned_by_lean_and_at_random() -> None:
    for network in (MSD50, MSD100, UNET):
        rules = {(one.rule, one.keep) for one in variants(network)}
        assert rules >= {(rule, keep) for rule in (LEAN, RANDOM) for keep in network.keeps}
