"""What the plane kernels execute: which planes are computed from which, in what order.

A `PlaneProgram` describes a network, or a part of one, whose channels are planes: convolutions of
any window, transposed ones, pooling, sums, with optional ReLUs; and a final dense 1x1 layer (the
*head*) that mixes many planes into few. Concatenation needs nothing, for an edge names the plane
that it reads. The program holds structure only; taps, biases and the head's matrix are passed
beside it, so that they can be trained.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from jaxtyping import Int64

from leanline.errors import ModelError
from leanline.kernels.conv3 import SHAPES
from leanline.kernels.halo import MODES
from leanline.kernels.tiling import UNTUNED, Tiling
from leanline.kernels.windows import COLUMNS, CONVOLVE, LARGEST, Pixels, Window

Table = Int64[np.ndarray, "_ _"]
Ids = Int64[np.ndarray, "_"]
Sizes = tuple[tuple[Pixels, Pixels], ...]
"""Height and width, of several pictures."""

PLANE, WINDOW, FIRST, LAST, RELU, SHAPE = range(6)
"""Columns of `PlaneProgram.steps`."""


@dataclass(frozen=True, eq=False)
class PlaneProgram:
    """A sparse network over planes.

    Planes of one *grid* have one size. The first planes are the channels of the inputs, in order;
    each of the others is computed by one step.

    Attributes:
        inputs: a row an input: grid, channels.
        grid: of each plane.
        windows: a row a window: the numbers of a `Window`.
        steps: a row a computed plane, in order of computation: plane, window, first edge, last edge
            (excluded), 1 if a ReLU follows, number of the tile's shape (`conv3.SHAPES`). The i-th
            row has the i-th bias.
        source: plane that each edge reads.
        outputs: for each output the planes that are its channels, all of one grid.
        head: planes that the final 1x1 layer reads, all of one grid; empty when there is none. What
            it computes is the last output.
        head_outputs: its number of outputs.
        padding: a key of `leanline.kernels.halo.MODES`: what lies around pictures.
        tiling: how its work is cut on the CPU.
    """

    inputs: Table
    grid: Ids
    windows: Table
    steps: Table
    source: Ids
    outputs: tuple[Ids, ...]
    head: Ids
    head_outputs: int
    padding: str
    tiling: Tiling = UNTUNED

    def __getstate__(self) -> dict[str, object]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def made(self) -> dict[object, Callable[..., object]]:
        """What is kept of it (`per_program`), by the function that made it."""
        return {}

    def window(self, number: int) -> Window:
        """A window by its number."""
        return Window(*self.windows[number].tolist())

    @cached_property
    def channels(self) -> int:
        """Planes that hold inputs."""
        return int(self.inputs[:, 1].sum())

    @cached_property
    def sources(self) -> Ids:
        """Grid that each step reads; that of its own plane where it reads nothing."""
        first, last = self.steps[:, FIRST], self.steps[:, LAST]
        read = np.append(self.source, 0)[np.minimum(first, self.source.size)]
        found: Ids = np.where(last > first, self.grid[read], self.grid[self.steps[:, PLANE]])
        return found

    @cached_property
    def transitions(self) -> tuple[tuple[int, int, int], ...]:
        """What steps read, write and how, each once: source grid, target grid, window."""
        reads = self.steps[:, LAST] > self.steps[:, FIRST]
        rows = zip(
            self.sources[reads].tolist(),
            self.grid[self.steps[reads, PLANE]].tolist(),
            self.steps[reads, WINDOW].tolist(),
            strict=True,
        )
        return tuple(dict.fromkeys(rows))

    @cached_property
    def taps_at(self) -> Ids:
        """Where each step's taps begin, and how many there are in all."""
        each = np.asarray([self.window(i).taps for i in range(len(self.windows))], np.int64)
        counts = (self.steps[:, LAST] - self.steps[:, FIRST]) * each[self.steps[:, WINDOW]]
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    @cached_property
    def key(self) -> str:
        """A hash of the content."""
        digest = hashlib.sha256(f"{self.padding} {self.head_outputs} {self.tiling}".encode())
        for part in (self.inputs, self.grid, self.windows, self.steps, self.source, self.head):
            digest.update(f"{part.shape}".encode() + np.ascontiguousarray(part).tobytes())
        for planes in self.outputs:
            digest.update(f"{planes.shape}".encode() + np.ascontiguousarray(planes).tobytes())
        return digest.hexdigest()

    def check(self) -> None:
        """Refuse what would make the kernels read or write outside their buffers.

        Raises:
            ModelError: a plane, grid, window or edge that is named does not exist, or is read
                before it is computed.
        """
        self.tiling.check()
        planes, edges = len(self.grid), self.source.size
        plane, window, first, last = (self.steps[:, i] for i in (PLANE, WINDOW, FIRST, LAST))
        named = {
            "number of inputs": (np.asarray([len(self.inputs)]), 1, 1 << 20),
            "channel count": (self.inputs[:, 1], 1, planes + 1),
            "number of planes": (np.asarray([planes - self.channels - len(self.steps)]), 0, 1),
            "input grid": (self.inputs[:, 0], 0, planes),
            "grid": (self.grid, 0, planes),
            "computed plane": (plane - self.channels - np.arange(len(plane)), 0, 1),
            "number of windows": (np.asarray([len(self.windows)]), 1, 1 << 20),
            "window": (window, 0, len(self.windows)),
            "kind of window": (self.windows[:, 0], CONVOLVE, LARGEST + 1),
            "window size": (self.windows[:, 1:7], 1, 1 << 16),
            "padding": (self.windows[:, 7:], -(1 << 16), 1 << 16),
            "first edge": (first, 0, edges + 1),
            "number of edges": (last - first, 0, edges + 1),
            "last edge": (last, 0, edges + 1),
            "source plane": (self.source, 0, planes),
            "head plane": (self.head, 0, planes),
            "number of head outputs": (
                np.asarray([self.head_outputs]),
                int(self.head.size > 0),
                1 << 20 if self.head.size else 1,
            ),
            "tile shape": (self.steps[:, SHAPE], 0, len(SHAPES)),
            "padding mode": (np.asarray([self.padding in MODES]), 1, 2),
            "window width": (np.asarray([self.windows.shape[1]]), COLUMNS, COLUMNS + 1),
            **{
                f"plane of output {i}": (np.append(ids, planes * (not ids.size)), 0, planes)
                for i, ids in enumerate(self.outputs)
            },
        }
        for what, (values, low, high) in named.items():
            if values.size and not low <= values.min() <= values.max() < high:
                raise ModelError(
                    f"a plane program has a {what} outside {low}..{high - 1}: "
                    f"{values.min()}..{values.max()}"
                )
        readers = np.repeat(plane, last - first)
        starts = np.concatenate([[0], last])[: first.size]
        if readers.size != edges or (first != starts).any():
            raise ModelError("a plane program has edges that belong to no step")
        if (self.source >= readers).any():
            raise ModelError("a plane program reads a plane before it is computed")
        known = set(self.inputs[:, 0].tolist())
        for from_grid, to_grid, _ in self.transitions:
            if from_grid not in known:
                raise ModelError(f"a plane program reads grid {from_grid} before it has a size")
            known.add(to_grid)
        if (self.windows[window[last - first != 1], 0] == LARGEST).any():
            raise ModelError("a plane program takes the largest value of no plane or of several")
        mixed = self.grid[self.source] != np.repeat(self.sources, last - first)
        groups = [self.grid[ids] for ids in (*self.outputs, self.head)]
        if mixed.any() or any(ids.size and ids.min() != ids.max() for ids in groups):
            raise ModelError("a plane program joins planes of different grids in one step")
        if known != set(range(max(known) + 1)) or not set(self.grid.tolist()) <= known:
            raise ModelError("a plane program has a grid of unknown size")
