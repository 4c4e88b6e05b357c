"""A program's numbers out of the parameters of a network, so that gradients reach these.

A program is planned with numbers in place of weights: 1, 2, 3, ... along the concatenation of the
parameters. So it says of each of its numbers where it came from.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from leanline.runtime.builder import Numbers


class Gather(nn.Module):
    """Takes taps, biases, head and head biases of a program from parameters.

    Args:
        numbers: of a program that was planned with numbered weights.
    """

    at: Tensor
    fixed: Tensor

    def __init__(self, numbers: Numbers) -> None:
        super().__init__()
        parts = (
            (numbers.taps, numbers.learned_taps),
            (numbers.bias, numbers.learned_bias),
            (numbers.head.reshape(-1), np.ones(numbers.head.size, bool)),
            (numbers.head_bias, np.ones(numbers.head_bias.size, bool)),
        )
        place, learned = (np.concatenate(both) for both in zip(*parts, strict=True))
        self._shapes = [(-1,), (-1,), numbers.head.shape, (-1,)]
        self._counts = [part.size for part, _ in parts]
        fixed, inverse = np.unique(np.where(learned, 0.0, place), return_inverse=True)
        # numbers of a layer are counted from 1; a bias that a layer does not have is 0
        at = np.where(learned & (place > 0), place.astype(np.int64) - 1 + fixed.size, inverse)
        self.register_buffer("at", torch.from_numpy(at), persistent=False)
        self.register_buffer("fixed", torch.from_numpy(fixed.astype(np.float32)), persistent=False)

    def forward(self, *parameters: Tensor) -> list[Tensor]:
        """The numbers, differentiable in the parameters."""
        gathered: Tensor = _Take.apply(self.at, self.fixed, *parameters)  # type: ignore[no-untyped-call]
        parts = torch.split(gathered, self._counts)
        return [part.reshape(shape) for part, shape in zip(parts, self._shapes, strict=True)]


class _Take(torch.autograd.Function):
    """Some numbers of many tensors, in one operation: each view would cost as much as a layer."""

    @staticmethod
    def forward(ctx: Any, at: Tensor, fixed: Tensor, *tensors: Tensor) -> Tensor:
        ctx.save_for_backward(at)
        ctx.sizes = [fixed.numel(), *(tensor.numel() for tensor in tensors)]
        ctx.shapes = [tensor.shape for tensor in tensors]
        return torch.cat([fixed, *(tensor.reshape(-1) for tensor in tensors)]).index_select(0, at)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (at,) = ctx.saved_tensors
        total = grad.new_zeros(sum(ctx.sizes)).index_add_(0, at, grad)
        parts = torch.split(total, ctx.sizes)[1:]
        shaped = (part.view(shape) for part, shape in zip(parts, ctx.shapes, strict=True))
        return (None, None, *shaped)
