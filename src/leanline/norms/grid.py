"""Frequencies of one axis of a filter: those of the grid, and fewer samples to look at first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from leanline.norms.peak import Search, Waves

_LITTLE = 1 << 15  # values times lags of a grid that is not worth samples
_SLACK = 0.6  # at most; the farther below pi / 2, the fewer cells are searched


@dataclass(frozen=True)
class Axis:
    """Frequencies and lags of |F|^2 on one axis.

    Attributes:
        points: Number of different frequencies.
        step: Lags that count are multiples of this.
        lags: Number of such multiples inside the autocorrelation.
    """

    points: int
    step: int
    lags: int

    @classmethod
    def of(cls, size: int, stride: int, dilation: int, kernel: int) -> Axis:
        """Axis of a convolution; `leanline.norms.convolution` says why."""
        coarse = -(-size // stride)  # the grid after the stride
        common = math.gcd(stride, dilation)
        step = stride // common
        lags = (kernel - 1) // step
        points = coarse // math.gcd(coarse, dilation // common) if lags else 1
        return cls(points, step, lags)


def plan(axes: Sequence[Axis]) -> tuple[Search, Search, Search, float]:
    """Prepare the search of `leanline.norms.peak`: three axes, and the samples' slack.

    An axis is sampled where its samples are at most half of the grid, unless the whole grid is
    little work. The numbers were found by timing 3x3 to 15x15 filters, n = 64 to 1024.
    """
    three = (Axis(1, 1, 0),) * (3 - len(axes)) + tuple(axes)
    work = math.prod(axis.points for axis in three) * max(axis.lags for axis in three)
    lags = sum(axis.lags for axis in three)
    samples = [axis.points if work < _LITTLE else _samples(axis, lags) for axis in three]
    slack = sum(
        axis.lags * math.pi / (2 * count)
        for axis, count in zip(three, samples, strict=True)
        if count != axis.points
    )
    first, second, third = (
        search(axis, count, half)
        for axis, count, half in zip(three, samples, (True, three[0].lags == 0, True), strict=True)
    )
    return first, second, third, slack


def _samples(axis: Axis, lags: int) -> int:
    """Samples of an axis, of a filter with that many lags on all its axes together."""
    count = max(2.2 * math.sqrt(axis.points * axis.lags), lags * math.pi / (2 * _SLACK))
    rounded = 16 * math.ceil((count / 2 + 1) / 8) - 2  # 8 vectors' worth of half of them
    return rounded if 2 * rounded <= axis.points else axis.points


def _waves(lags: int, points: int, index: Int64[np.ndarray, "angles"]) -> Waves:
    """Cosines and sines of l x for lags l = 0 to `lags` and angles x = 2 pi index / points."""
    turns = np.arange(lags + 1)[:, None] * index % points
    angle = turns * (2 * np.pi / points)
    return Waves(np.cos(angle), np.sin(angle))


def search(axis: Axis, samples: int, half: bool) -> Search:
    """One axis, with an even number of samples, or the grid itself.

    Args:
        axis: The axis.
        samples: Even number of samples, or `axis.points` for the grid itself.
        half: Whether angles from 0 to pi are enough.
    """
    n = axis.points
    index = np.arange(n // 2 + 1 if half else n)
    if samples == n:
        grid = _waves(axis.lags, n, index)
        return Search(axis.step, grid, grid, np.arange(len(index) + 1))
    count = samples // 2 + 1 if half else samples
    # point j belongs to sample i if i - 1/2 <= j samples / n < i + 1/2
    cells = -((n - 2 * n * np.arange(count + 1)) // (2 * samples))
    if half:  # of the first cell and of the last one a half is outside
        cells = np.clip(cells, 0, len(index))
    else:  # the first cell begins below 0
        index = np.arange(cells[0], cells[0] + n)
        cells = cells - cells[0]
    return Search(
        axis.step,
        _waves(axis.lags, samples, np.arange(count)),
        _waves(axis.lags, n, index),
        cells,
    )
