"""The parametrisation that keeps pruned filters and dead channels at exactly zero."""

from __future__ import annotations

import torch
from jaxtyping import Bool
from torch import Tensor, nn


class Mask(nn.Module):
    """Elementwise mask of a parameter, as a `torch.nn.utils.parametrize` parametrisation.

    The mask is a boolean buffer that broadcasts against the parameter, so it moves, copies, saves
    and synchronises with the model. Masked entries read as exactly zero, whatever the optimiser
    does to the values below, and get a gradient of zero.

    Attributes:
        mask: True where the parameter stays; of shape (out, in, 1, ..., 1) for a mask of filters.
    """

    mask: Tensor

    def __init__(self, mask: Bool[Tensor, "..."]) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        """Return `weight`, of any shape that the mask broadcasts against, with the zeros set."""
        return torch.where(self.mask, weight, weight.new_zeros(()))
