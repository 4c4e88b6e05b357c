"""Grouped convolutions that lose channels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from leanline.compaction import compact
from leanline.compaction.shrinking import level
from leanline.masks import apply_masks

from .random_nets import randomise


def network(groups: int, each: int, transposed: bool, bias: bool, seed: int = 0) -> nn.Module:
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    middle = kind(4 * groups, each * groups, 3, padding=1, groups=groups, bias=bias)
    first = nn.Conv2d(2, 4 * groups, 3, padding=1, bias=False)
    last = nn.Conv2d(each * groups, 3, 1)
    return randomise(nn.Sequential(first, nn.ReLU(), middle, nn.ReLU(), last), seed)


@settings(max_examples=12)
@given(
    st.sampled_from([2, 3, 4]), st.integers(1, 3), st.booleans(), st.booleans(), st.integers(0, 99)
)
def test_random_masks(groups: int, each: int, transposed: bool, bias: bool, seed: int) -> None:
    model = network(groups, each, transposed, bias, seed)
    generator = torch.Generator().manual_seed(seed)
    keep = float(torch.rand((), generator=generator))
    apply_masks(
        model,
        {
            name: torch.rand(value.shape[:2], generator=generator) < keep
            for name, value in model.named_parameters()
            if value.ndim == 4
        },
    )
    small = compact(model, torch.zeros(1, 2, 9, 9))
    images = torch.randn(2, 2, 7, 11)
    with torch.no_grad():
        torch.testing.assert_close(small(images), model(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_dead_group_goes(transposed: bool) -> None:
    model = network(4, 3, transposed, False)
    mask = torch.ones(model[0].weight.shape[:2], dtype=torch.bool)
    mask[4:8] = False  # what the second group reads
    apply_masks(model, {"0.weight": mask})
    layer = compact(model, torch.zeros(1, 2, 9, 9)).get_submodule("2")
    assert (layer.groups, layer.in_channels, layer.out_channels) == (3, 12, 9)


@pytest.mark.parametrize("transposed", [False, True])
def test_each_group_keeps_as_many_channels_as_one_needs(transposed: bool) -> None:
    model = network(2, 3, transposed, False)
    mask = torch.ones(model[0].weight.shape[:2], dtype=torch.bool)
    mask[[0, 5, 6]] = False  # three are left in one group, two in the other
    last = torch.ones(3, 6, dtype=torch.bool)
    last[:, [0, 3, 4]] = False
    apply_masks(model, {"0.weight": mask, "4.weight": last})
    layer = compact(model, torch.zeros(1, 2, 9, 9)).get_submodule("2")
    assert (layer.groups, layer.in_channels, layer.out_channels) == (2, 6, 4)


@given(st.integers(1, 5), st.integers(1, 5), st.data())
def test_levels(groups: int, each: int, data: st.DataObject) -> None:
    flags = np.array(data.draw(st.lists(st.booleans(), min_size=groups * each)))[: groups * each]
    table = flags.reshape(groups, each)
    alive = table.any(1)
    found = level(flags, groups, alive).reshape(groups, each)
    assert (found >= table).all()
    most = max(1, table.sum(1).max())
    assert found.sum(1).tolist() == [most if living else 0 for living in alive]
