"""Do two networks compute the same? Asked of every network that is put in another one's place."""

from __future__ import annotations

import torch
from torch import Tensor

from leanline.types import ExampleInputs


def draw_like(example_inputs: ExampleInputs) -> tuple[Tensor, ...]:
    """Normal random inputs, the same in every call, shaped as the example.

    Integers and booleans stay as in the example: they may be indices.
    """
    inputs = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
    generator = torch.Generator().manual_seed(0)
    return tuple(
        torch.randn(t.shape, generator=generator, dtype=torch.float32).to(t.device, t.dtype)
        if t.is_floating_point()
        else t.detach()
        for t in inputs
    )


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
