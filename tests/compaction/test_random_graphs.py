"""Compaction by random graphs. LEANLINE_FUZZ=1000 tries a thousand instead of the usual few."""

import os

import pytest
import torch

from leanline.compaction import compact
from leanline.pruning import clean

from .random_graphs import KINDS, GraphNet, masks_of
from .random_nets import outputs, randomise

GRAPHS = int(os.environ.get("LEANLINE_FUZZ", "60"))
IN_A_TEST = 10


def check(seed: int) -> None:
    model = masks_of(randomise(GraphNet(seed), seed), seed)
    example = model.pictures(2, 8)
    if seed % 2:
        clean(model, example)
    small = compact(model, example)
    sizes = [(2, 8), (3, 8), (1, 16)] if model.any_size else [(2, 8), (3, 8)]
    for batch, size in sizes:
        images = model.pictures(batch, size)
        with torch.no_grad():
            expected, found = outputs(model(*images)), outputs(small(*images))
        for number, (want, have) in enumerate(zip(expected, found, strict=True)):
            where = f"seed {seed}, output {number} at {batch} x {size}: {model.kinds}"
            assert have.shape == want.shape, where
            error = float((have - want).abs().max())
            assert error <= 1e-5 * float(want.abs().max()), f"{where}: {error:.1e}"


@pytest.mark.parametrize("start", range(0, GRAPHS, IN_A_TEST))
def test_compact_equals_masked(start: int) -> None:
    for seed in range(start, min(start + IN_A_TEST, GRAPHS)):
        check(seed)


def test_every_kind_is_drawn() -> None:
    drawn = {kind for seed in range(60) for kind in GraphNet(seed).kinds}
    assert drawn >= set(KINDS) | {"head", "flatten_linear", "mean_linear"}
    nets = [GraphNet(seed) for seed in range(60)]
    assert {net.dimensions for net in nets} == {1, 2, 3}
    assert {len(net.inputs) for net in nets} == {1, 2}
    assert {len(net.outputs) for net in nets} >= {1, 2}
