"""Every kind of network made smaller, against the masked one, also at other sizes."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map, tree_structure

from leanline.compaction import compact
from leanline.masks import apply_masks
from leanline.pruning import clean, trace
from networks import NETWORKS, make
from soundness import outputs_of

# Numbers of the picture's size stand in the code of these.
FIXED_SIZE = {"layer norm on pictures", "flatten", "buffer of torch.zeros", "branches"}


def other_size(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Another batch, height and width than those that were tried to find the sizes."""
    sizes = iter((3, 20, 16, 12))
    new = [next(sizes), *(next(sizes) for _ in tree_leaves(inputs)[0].shape[2:])]

    def draw(image: Tensor) -> Tensor:
        return torch.randn(new[0], image.shape[1], *new[1:])

    return tree_map(draw, inputs)


@pytest.mark.parametrize("name", sorted(NETWORKS))
@pytest.mark.parametrize("keep, cleaned", [(0.2, True), (0.5, False)])
def test_the_smaller_network_computes_the_same(name: str, keep: float, cleaned: bool) -> None:
    model, inputs = make(name)
    graph = trace(model, inputs)
    generator = torch.Generator().manual_seed(1)
    apply_masks(
        model,
        {b.name: torch.rand(b.shape, generator=generator) < keep for b in graph.filters},
    )
    if cleaned:
        clean(model, inputs)
    small = compact(model, inputs)
    assert (small.meta["sizes"] == "any") == (name not in FIXED_SIZE)
    pictures = [inputs] if name in FIXED_SIZE else [inputs, other_size(inputs)]
    for images in pictures:
        expected, found = outputs_of(model, images), outputs_of(small, images)
        for want, have in zip(expected, found, strict=True):
            torch.testing.assert_close(have, want, rtol=1e-5, atol=1e-5 * float(want.abs().max()))
    with torch.no_grad():
        assert tree_structure(small(*inputs)) == tree_structure(model(*copy.deepcopy(inputs)))
    again = copy.deepcopy(small)
    assert all(map(torch.equal, outputs_of(again, inputs), outputs_of(small, inputs)))


@pytest.mark.parametrize(
    "name",
    ["channel attention", "gate", "group norm", "pixel shuffle", "flatten", "channel shuffle"],
)
def test_it_is_smaller(name: str) -> None:
    """All channels of the first layer but one die; what follows must shrink with it."""
    model, inputs = make(name)
    graph = trace(model, inputs)
    masks = {block.name: torch.ones(block.shape, dtype=torch.bool) for block in graph.filters}
    first = next(iter(masks))
    masks[first][: len(masks[first]) // 2] = False
    apply_masks(model, masks)
    clean(model, inputs)
    small = compact(model, inputs)
    before = sum(value.numel() for value in model.parameters())
    after = sum(value.numel() for value in small.parameters())
    assert after < 0.75 * before
