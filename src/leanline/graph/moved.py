"""Data movement: which channels each channel of a reshaped tensor comes from.

Reshapes, permutations, splits and the like say nothing about channels by themselves. They are
applied to a tensor that holds, at every place, the number of the channel that the value there
belongs to; what comes out is read off only when an operation needs channels again. So a channel
shuffle, a pixel shuffle or a flattened picture is understood however it is written.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int, Int32
from torch import Tensor

ZERO = -1
"""The number of no channel: a value that is zero."""

_TABLE = 1 << 28  # entries of a table of result channels against source channels


@dataclass(frozen=True, eq=False)
class Moved:
    """A value that so far was only moved.

    Attributes:
        channel: For each entry of the tensor, the number of the channel that it belongs to.
    """

    channel: Int32[Tensor, "..."]


def sources(channel: Int32[Tensor, "..."], axis: int) -> Int[np.ndarray, "2 pairs"]:
    """Which channels each index of an axis holds values of.

    Args:
        channel: As in `Moved`.
        axis: The axis that is to hold the channels; of no account with fewer than two axes.

    Returns:
        Pairs of a channel and an index, ordered by index, then channel.
    """
    rows = _rows(channel, axis)
    if rows.shape[1] == 0:
        return np.empty((2, 0), dtype=np.int64)
    first = rows[:, :1]
    if bool((rows == first).all()):
        single = first[:, 0].numpy().astype(np.int64)
        index = np.flatnonzero(single != ZERO)
        return np.stack([single[index], index])
    known = np.flatnonzero(np.bincount((rows - ZERO).reshape(-1).numpy())) + ZERO
    place = torch.from_numpy(np.searchsorted(known, np.arange(known[-1] + 1)))
    pairs: list[np.ndarray] = []
    step = max(1, _TABLE // max(known.size, rows.shape[1]))
    for start in range(0, rows.shape[0], step):
        part = rows[start : start + step]
        table = torch.zeros(part.shape[0], known.size, dtype=torch.bool)
        # A place of its own for ZERO, which may lie before all others.
        spot = torch.where(part == ZERO, 0, place[part.clamp(min=0).long()])
        table.scatter_(1, spot, torch.ones_like(spot, dtype=torch.bool))
        index, which = np.nonzero(table.numpy())
        pairs.append(np.stack([known[which], index + start]))
    found = np.concatenate(pairs, axis=1)
    return found[:, found[0] != ZERO]


def natural_axis(channel: Int32[Tensor, "..."]) -> int:
    """The axis, never the first, along which the channels lie most purely.

    That is the one whose indices hold values of the fewest channels each, and if there are several
    the shortest.
    """
    if channel.ndim <= 2:
        return 1
    best, found = 1, (float("inf"), float("inf"))
    for axis in range(1, channel.ndim):
        length = channel.shape[axis]
        cost = sources(channel, axis).shape[1] / max(1, length), float(length)
        if cost < found:
            best, found = axis, cost
    return best


def _rows(channel: Int32[Tensor, "..."], axis: int) -> Int32[Tensor, "indices places"]:
    if channel.ndim < 2:
        return channel.reshape(1, -1)
    length = channel.shape[axis]
    return channel.movedim(axis, 0).reshape(length, channel.numel() // max(1, length))
