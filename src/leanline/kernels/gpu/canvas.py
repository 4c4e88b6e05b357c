"""Where the planes of a program lie in a tensor on the GPU, for pictures of one size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from leanline.kernels.program import Ids, Sizes

LINE = 32  # floats of the 128 bytes that a warp reads in one go


@dataclass(frozen=True)
class Field:
    """The planes of one grid, one after the other (all in floats).

    Attributes:
        height: rows of the picture.
        width: columns of the picture.
        border: pixels around it, for gradients that reach outside.
        count: number of planes.
        start: where the first plane begins, its border included.
    """

    height: int
    width: int
    border: int
    count: int
    start: int

    @property
    def stride(self) -> int:
        """Floats from one row to the next."""
        return self.width + 2 * self.border

    @property
    def pitch(self) -> int:
        """Floats from one plane to the next."""
        return -(-(self.height + 2 * self.border) * self.stride // LINE) * LINE

    @property
    def origin(self) -> int:
        """Pixel (0, 0) of the first plane."""
        return self.start + self.border * self.stride + self.border


class Canvas:
    """Offsets of a program's planes.

    Args:
        grid: of each plane.
        sizes: height and width of each grid.
        slots: place of each plane among those of its grid; planes may share one.
        borders: pixels around the pictures of each grid.

    Attributes:
        fields: of each grid.
        at: offset of each plane's pixel (0, 0).
        size: floats of one image.
    """

    def __init__(self, grid: Ids, sizes: Sizes, slots: Ids, borders: Sequence[int]) -> None:
        fields: list[Field] = []
        start = 0
        for number, ((height, width), border) in enumerate(zip(sizes, borders, strict=True)):
            own = slots[grid == number]
            count = int(own.max()) + 1 if own.size else 0
            fields.append(Field(height, width, border, count, start))
            start += count * fields[-1].pitch
        self.fields = tuple(fields)
        self.slots = slots
        self.size = start
        origins = np.asarray([field.origin for field in fields], np.int64)
        pitches = np.asarray([field.pitch for field in fields], np.int64)
        self.at: Ids = origins[grid] + slots * pitches[grid]

    def view(
        self, buffer: Float[Tensor, "batch size"], grid: int
    ) -> Float[Tensor, "batch count height width"]:
        """The pictures of a grid's planes, as they lie in a buffer."""
        field = self.fields[grid]
        return buffer.as_strided(
            (len(buffer), field.count, field.height, field.width),
            (self.size, field.pitch, field.stride, 1),
            buffer.storage_offset() + field.origin,
        )


def all_apart(grid: Ids) -> Ids:
    """A place of its own for every plane, among those of its grid."""
    slots = np.zeros(len(grid), np.int64)
    for number in np.unique(grid):
        slots[grid == number] = np.arange((grid == number).sum())
    return slots
