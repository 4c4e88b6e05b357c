"""Where the planes of a program lie in a buffer, for pictures of one size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from leanline.errors import ModelError
from leanline.kernels.program import Ids, PlaneProgram, Sizes, Table
from leanline.kernels.window import TILE
from leanline.kernels.windows import Pixels

LINE = 16  # floats of a cache line
_LARGEST = 1 << 44  # floats of a buffer; offsets stay far from what an int64 holds


@dataclass(frozen=True)
class Geometry:
    """How the planes of one grid lie in memory (all in floats).

    The end of a row and the beginning of the next share their border. Rows keep a distance that is
    no power of two, planes a small skew, so that the rows which a tile reads together do not fall
    into the same cache sets.

    Attributes:
        height: rows of the picture.
        width: columns of the picture.
        halo: pixels around it that may be read.
        filled: pixels around it that are written (with other padding than zeros).
    """

    height: int
    width: int
    halo: int
    filled: int

    @property
    def stride(self) -> int:
        """Floats from one row to the next."""
        between = max(self.halo, 2 * self.filled)
        stride = -(-(self.width + between) // LINE) * LINE
        return stride + LINE if stride % 256 == 0 else stride

    @property
    def origin(self) -> int:
        """Offset of pixel (0, 0) inside a plane."""
        return self.halo * self.stride + -(-self.halo // LINE) * LINE

    @property
    def pitch(self) -> int:
        """Floats from one plane to the next."""
        return (self.height + 2 * self.halo) * self.stride + (1 + -(-self.halo // LINE)) * LINE


def grid_sizes(program: PlaneProgram, sizes: Sizes) -> Sizes:
    """Height and width of each grid, for inputs of some sizes.

    Raises:
        ModelError: planes of one grid would have different sizes, or no pixels; the message says
            which picture size does not work.
    """
    known: dict[int, tuple[Pixels, Pixels]] = {}
    given = ", ".join(f"{height} x {width}" for height, width in sizes)

    def note(grid: int, size: tuple[Pixels, Pixels]) -> None:
        if min(size) < 1:
            raise ModelError(f"pictures of {given} are too small for this network")
        if known.setdefault(grid, size) != size:
            raise ModelError(
                f"pictures of {given} do not fit this network: it joins channels of "
                f"{known[grid][0]} x {known[grid][1]} and of {size[0]} x {size[1]} pixels"
            )

    for (grid, _), size in zip(program.inputs.tolist(), sizes, strict=True):
        note(grid, size)
    for from_grid, to_grid, window in program.transitions:
        note(to_grid, program.window(window).output(*known[from_grid]))
    return tuple(known[grid] for grid in range(len(known)))


def reaches(program: PlaneProgram, sizes: Sizes) -> list[int]:
    """How far outside the pictures of each grid the program's windows look."""
    reach = [0] * len(sizes)
    for from_grid, to_grid, number in program.transitions:
        window, ends = program.window(number), (sizes[from_grid], sizes[to_grid])
        reach[from_grid] = max(reach[from_grid], window.reach(*ends))
    return reach


def filled_borders(program: PlaneProgram, sizes: Sizes) -> list[int]:
    """Pixels around the pictures of each grid that hold copies of others.

    Raises:
        ModelError: the pictures are too small for reflect padding.
    """
    filled = [0 if program.padding == "zeros" else far for far in reaches(program, sizes)]
    for (height, width), far in zip(sizes, filled, strict=True):
        if program.padding == "reflect" and far >= min(height, width):
            raise ModelError(
                f"pictures of {height} x {width} are too small: reflect padding of {far} "
                f"pixels needs at least {far + 1} rows and columns"
            )
    return filled


class Places:
    """Offsets of a program's planes for pictures of some sizes.

    Args:
        program: the program.
        sizes: height and width of each input.
        slots: place of each plane among those of its grid; planes may share one.

    Raises:
        ModelError: the pictures do not fit the program, or no memory would hold its planes.
    """

    def __init__(self, program: PlaneProgram, sizes: Sizes, slots: Ids) -> None:
        self.sizes = grid_sizes(program, sizes)
        self._program = program
        reach = reaches(program, self.sizes)
        self.filled = filled_borders(program, self.sizes)
        halo = [far + self.filled[grid] for grid, far in enumerate(reach)]
        for from_grid, to_grid, number in program.transitions:  # where gradients are read
            window, ends = (
                program.window(number).mirrored,
                (self.sizes[to_grid], self.sizes[from_grid]),
            )
            halo[to_grid] = max(halo[to_grid], window.reach(*ends) + self.filled[from_grid])
        self.layouts = tuple(
            Geometry(*size, far, filled)
            for size, far, filled in zip(self.sizes, halo, self.filled, strict=True)
        )
        counts = [0] * len(self.sizes)
        for plane, grid in enumerate(program.grid.tolist()):
            counts[grid] = max(counts[grid], int(slots[plane]) + 1)
        pitches = [layout.pitch for layout in self.layouts]
        farthest = int(program.windows[:, 3:7].max())
        strides = max(layout.stride for layout in self.layouts)
        # room for tiles that read past the end, at the largest stride and dilation
        room = strides * 10 * farthest + TILE * (farthest + 1)
        needed = room + sum(n * pitch for n, pitch in zip(counts, pitches, strict=True))
        if needed > _LARGEST:
            raise ModelError(f"an image would need {needed} numbers: no memory holds that")
        starts = np.cumsum([0, *(n * pitch for n, pitch in zip(counts, pitches, strict=True))])
        origins = [layout.origin for layout in self.layouts]
        grid = program.grid
        self.at: Ids = (
            starts[grid] + slots * np.asarray(pitches)[grid] + np.asarray(origins)[grid]
        ).astype(np.int64)
        self.size = needed
        self.key = (self.layouts, tuple(counts), self.size, program.padding)

    @cached_property
    def grids(self) -> Table:
        """A row a grid, as the kernels take it: height, width, stride, border."""
        rows = [(g.height, g.width, g.stride, g.filled) for g in self.layouts]
        return np.asarray(rows, np.int64).reshape(-1, 4)
