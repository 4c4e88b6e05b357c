"""The layout of filters: weight.shape[:2] against input and output channels."""

from __future__ import annotations

import numpy as np
from jaxtyping import Shaped

from leanline.graph.program import Operation


def by_group(
    operation: Operation, matrix: Shaped[np.ndarray, "_ _"]
) -> Shaped[np.ndarray, "groups outputs inputs"]:
    """View a filter matrix of a convolution (or linear layer) by group, output and input channel.

    A plain weight has shape (out, in / groups), a transposed one (in, out / groups).
    """
    groups = int(operation.settings.get("groups", 1))
    grouped = matrix.reshape(groups, matrix.shape[0] // groups, matrix.shape[1])
    return grouped.swapaxes(1, 2) if operation.settings.get("transposed", False) else grouped


def from_group(
    operation: Operation, grouped: Shaped[np.ndarray, "groups outputs inputs"]
) -> Shaped[np.ndarray, "_ _"]:
    """The inverse of `by_group`: back to the layout of weight.shape[:2]."""
    if operation.settings.get("transposed", False):
        grouped = grouped.swapaxes(1, 2)
    return grouped.reshape(-1, grouped.shape[2])
