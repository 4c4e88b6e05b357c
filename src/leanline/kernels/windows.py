"""Windows: which pixels of its sources an output pixel looks at, and the size that comes out."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    Pixels = int
else:
    Pixels = int | torch.SymInt
"""A number of pixels; a symbol while PyTorch traces a network for any picture size."""

CONVOLVE, SPREAD, LARGEST = 0, 1, 2
"""Kinds: convolution (pooling by mean and sums of planes are convolutions with fixed taps),
transposed convolution, and the largest value of a window."""

COLUMNS = 11
"""Numbers that describe a window, in the order of `Window`'s attributes."""


@dataclass(frozen=True)
class Window:
    """What one step does with each of its source planes; all in pixels, rows before columns.

    Attributes:
        kind: `CONVOLVE`, `SPREAD` or `LARGEST`.
        rows: taps along the rows.
        columns: taps along the columns.
        row_step: stride.
        column_step: stride.
        row_dilation: distance of the taps.
        column_dilation: distance of the taps.
        top: padding; what `SPREAD` cuts off.
        left: padding; what `SPREAD` cuts off.
        bottom: padding; what `SPREAD` cuts off, less its output padding.
        right: padding; what `SPREAD` cuts off, less its output padding.
    """

    kind: int
    rows: int
    columns: int
    row_step: int = 1
    column_step: int = 1
    row_dilation: int = 1
    column_dilation: int = 1
    top: int = 0
    left: int = 0
    bottom: int = 0
    right: int = 0

    @property
    def taps(self) -> int:
        """Numbers that each edge needs."""
        return 0 if self.kind == LARGEST else self.rows * self.columns

    @property
    def row(self) -> tuple[int, ...]:
        """The attributes in order, as the kernels take them."""
        return astuple(self)

    def output(self, height: Pixels, width: Pixels) -> tuple[Pixels, Pixels]:
        """Size of the output for sources of a size; below 1 where the window does not fit."""
        return (
            self._along(
                height, self.rows, self.row_step, self.row_dilation, self.top + self.bottom
            ),
            self._along(
                width, self.columns, self.column_step, self.column_dilation, self.left + self.right
            ),
        )

    def _along(self, size: Pixels, taps: int, step: int, dilation: int, around: int) -> Pixels:
        reach = dilation * (taps - 1)
        if self.kind == SPREAD:
            return (size - 1) * step + reach + 1 - around
        return (size + around - reach - 1) // step + 1

    def reach(self, source: tuple[int, int], target: tuple[int, int]) -> int:
        """How far outside the sources the window looks, at the side where it does most."""
        if self.kind == SPREAD:
            return 0
        ends = zip(
            source,
            target,
            (self.rows, self.columns),
            (self.row_step, self.column_step),
            (self.row_dilation, self.column_dilation),
            (self.top, self.left),
            strict=True,
        )
        far: int = max(
            max(before, (out - 1) * step - before + (taps - 1) * dilation - (size - 1), 0)
            for size, out, taps, step, dilation, before in ends
        )
        return far

    @property
    def mirrored(self) -> Window:
        """The window that takes gradients back: from this one's targets to its sources.

        A convolution of stride 1 becomes a convolution with mirrored taps; one with strides
        becomes a transposed one with the same taps, and the other way round.
        """
        if self.kind == LARGEST:
            return self
        if self.kind == SPREAD or max(self.row_step, self.column_step) > 1:
            other = CONVOLVE if self.kind == SPREAD else SPREAD
            return Window(other, *self.row[1:])
        rows = self.row_dilation * (self.rows - 1)
        columns = self.column_dilation * (self.columns - 1)
        return Window(
            CONVOLVE,
            self.rows,
            self.columns,
            row_dilation=self.row_dilation,
            column_dilation=self.column_dilation,
            top=rows - self.top,
            left=columns - self.left,
            bottom=rows - self.bottom,
            right=columns - self.right,
        )
