"""Do two networks compute the same? Asked of every network that is put in another one's place."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from leanline.types import ExampleInputs


def draw_like(example_inputs: ExampleInputs) -> tuple[Any, ...]:
    """Normal random inputs, the same in every call, shaped as the example.

    Integers and booleans stay as in the example, for they may be indices; so does what is no
    tensor, and the containers.
    """
    inputs = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
    generator = torch.Generator().manual_seed(0)

    def draw(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        if not leaf.is_floating_point():
            return leaf.detach()
        drawn = torch.randn(leaf.shape, generator=generator, dtype=torch.float32)
        return drawn.to(leaf.device, leaf.dtype)

    drawn = tree_map(draw, inputs)
    assert isinstance(drawn, tuple)
    return drawn


def deviation(want: Tensor, have: Tensor) -> float:
    """Largest difference, as a part of the largest finite value that is wanted.

    Where both are NaN or the same infinity there is no difference. Of integers and booleans
    (classes, say) the share of entries that differ is returned: a tie may fall either way.
    """
    want, have = want.detach(), have.detach()
    if want.shape != have.shape:
        return float("inf")
    if want.numel() == 0:
        return 0.0
    if not want.is_floating_point() and not want.is_complex():
        return float((want != have).double().mean())
    same = (want == have) | (want.isnan() & have.isnan())
    error = (
        torch.where(same, 0.0, (want - have).abs().double())
        .nan_to_num(nan=torch.inf, posinf=torch.inf)
        .max()
    )
    finite = torch.where(want.isfinite(), want.abs().double(), 0.0).max()
    tiny = torch.finfo(torch.float64).tiny
    return float(error / finite.clamp_min(tiny))
