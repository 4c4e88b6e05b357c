"""What a plane program needs to know for pictures of one size, worked out once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from leanline.kernels.gradients import Gradients, data_gradients
from leanline.kernels.halo import MODES
from leanline.kernels.layout import Places
from leanline.kernels.per_program import per_program
from leanline.kernels.pointwise import TILE
from leanline.kernels.program import FIRST, LAST, PLANE, WINDOW, Ids, PlaneProgram, Sizes, Table
from leanline.kernels.schedule import Schedule, schedule
from leanline.kernels.steps import HEIGHT

WORTH = 2  # edges a plane, from which on it is read often enough
TOGETHER = 4  # edges that are added up at a time where planes are read that often
LEAST_ROWS = 8  # of a band, times the dilation: the height of the tallest tile
ROW_GAP = 5  # column of a `Window`


class Plan:
    """What depends on the program and the picture sizes only, made once.

    Args:
        program: the program.
        sizes: height and width of each input.
        order: how it is run; the head adds up in one order in training and inference, so that
            both give the same bits.
        slots: place of each plane among those of its grid.
    """

    def __init__(
        self, program: PlaneProgram, sizes: Sizes, order: Schedule, slots: np.ndarray
    ) -> None:
        count = program.head.size
        self.program = program
        self.places = places = Places(program, sizes, slots)
        self.columns = order.order
        self.mode = MODES[program.padding]
        head_grid = int(program.grid[program.head[0]]) if count else 0
        self.head_size = places.sizes[head_grid] if count else (0, 0)
        area = self.head_size[0] * self.head_size[1]
        self.steps = (
            program.steps,
            program.windows,
            program.sources,
            program.grid[program.steps[:, PLANE]],
            program.taps_at,
            order.groups,
            bands_of(program, order.groups, places.grids),
            order.chunks,
            (edges_of(program, order.groups), program.tiling.ahead),
        )
        self.offsets = (
            places.at,
            places.at[program.source],
            places.at[program.head[self.columns]],
            np.arange(program.head_outputs, dtype=np.int64) * area,
            places.grids,
            head_grid,
            self.mode,
        )
        ends = np.cumsum(program.inputs[:, 1])
        self.input_at = [
            places.at[end - n : end] for end, n in zip(ends, program.inputs[:, 1], strict=True)
        ]
        self.input_grids = [places.grids[grid] for grid in program.inputs[:, 0]]
        self.output_at = [places.at[planes] for planes in program.outputs]
        self.output_grids = [places.grids[program.grid[planes[0]]] for planes in program.outputs]
        self.output_shapes = [
            (len(planes), *places.sizes[program.grid[planes[0]]]) for planes in program.outputs
        ]
        if count:
            self.output_shapes.append((program.head_outputs, *self.head_size))


class BackwardPlan:
    """The same for the backward pass, whose activations are laid out by ``forward``."""

    def __init__(self, forward: Plan, sizes: Sizes) -> None:
        program = forward.program
        self.mirror: Gradients = data_gradients(program)
        self.places = Places(program, sizes, self.mirror.slots)
        at = forward.places.at
        columns = program.head[forward.columns]
        self.head_planes, self.rows = np.unique(columns, return_inverse=True)
        given = [plane for planes in program.outputs for plane in planes.tolist()]
        head_grid = forward.offsets[5]
        self.seed_layout = layout = self.places.layouts[head_grid]
        self.seed_size = program.head_outputs * layout.pitch + TILE
        self.offsets = (
            at,
            self.places.at,
            at[program.source],
            self.places.at[self.mirror.source],
            self.head_planes,
            np.isin(self.head_planes, given).astype(np.int64),
            np.arange(program.head_outputs, dtype=np.int64) * layout.pitch + layout.origin,
            forward.places.grids,
            head_grid,
            forward.mode,
        )
        self.output_at, self.again = [], []
        seen: set[int] = set()
        for planes in program.outputs:
            self.output_at.append(self.places.at[planes])
            again = []
            for plane in planes.tolist():
                again.append(int(plane in seen))
                seen.add(plane)
            self.again.append(np.asarray(again, np.int64))


@per_program(kept=16)
def forward_plan(program: PlaneProgram, sizes: Sizes, keeps_planes: str) -> Plan:
    """For a forward pass that keeps "all" activations or "none"."""
    order = schedule(program)
    slots = order.slots if keeps_planes == "none" else _all_apart(program)
    return Plan(program, sizes, order, slots)


@per_program(kept=8)
def backward_plan(program: PlaneProgram, sizes: Sizes) -> BackwardPlan:
    """For a backward pass."""
    return BackwardPlan(forward_plan(program, sizes, "all"), sizes)


def _all_apart(program: PlaneProgram) -> np.ndarray:
    """A place of its own for every plane, among those of its grid."""
    slots = np.zeros(len(program.grid), np.int64)
    for grid in np.unique(program.grid):
        slots[program.grid == grid] = np.arange((program.grid == grid).sum())
    return slots


def edges_of(program: PlaneProgram, groups: Table) -> Ids:
    """How many edges each group's tiles add up at a time.

    Planes that are read once come from memory, which is fastest where few rows are read in turn;
    those that are read often are in the cache, and then loads and stores count.
    """
    if program.tiling.edges:
        return np.full(len(groups), program.tiling.edges, np.int64)
    often = [reads >= WORTH * planes.size for reads, planes in _reads(program, groups)]
    return np.where(often, TOGETHER, 1).astype(np.int64)


def bands_of(program: PlaneProgram, groups: Table, grids: Table) -> Ids:
    """Into how many bands of rows each group's work is cut.

    Steps that read the same planes find them in the second-level cache when all of them do a band
    of rows before the next; it has to hold that band of all planes that the group reads.
    """
    bands = np.ones(len(groups), np.int64)
    if not program.tiling.band_bytes:
        return bands
    for index, (reads, planes) in enumerate(_reads(program, groups)):
        if reads < WORTH * planes.size:
            continue
        steps = program.steps[slice(*groups[index])]
        height, _, stride, _ = grids[program.grid[planes]].T
        rows = int(grids[program.grid[steps[:, PLANE]], HEIGHT].min())
        least = LEAST_ROWS * int(program.windows[steps[:, WINDOW], ROW_GAP].max())
        fitting = -(-int((4 * height * stride).sum()) // program.tiling.band_bytes)
        bands[index] = max(min(fitting, rows // least), 1)
    return bands


def _reads(program: PlaneProgram, groups: Table) -> Iterator[tuple[int, Ids]]:
    """Of each group how often its steps read planes, and which."""
    for first, last in groups.tolist():
        steps = program.steps[first:last]
        edges = program.source[steps[0, FIRST] : steps[-1, LAST]]
        yield edges.size, np.unique(edges)
