"""When a plane is needed for the last time, and what place it has until then.

Fewer planes stay in the cache when a plane that nobody will read any more gives its place to the
next one; the place that became free last is taken first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from leanline.kernels.per_program import per_program
from leanline.kernels.program import FIRST, LAST, PLANE, Ids, PlaneProgram, Table


@dataclass(frozen=True, eq=False)
class Schedule:
    """How a program is run.

    Attributes:
        slots: place of each plane among those of its grid, where nothing is kept.
        groups: a row a group of steps none of which reads what another one writes: first and last
            step (excluded). Within a group any part of any step may run before any other.
        order: columns of the head, in the order in which it adds them up.
        chunks: a row a part of the head: the number of groups after which it runs, first and last
            column (excluded) in `order`.
    """

    slots: Ids
    groups: Table
    order: Ids
    chunks: Table


@per_program(kept=1)
def schedule(program: PlaneProgram) -> Schedule:
    """Plan one pass over a program that keeps no activations."""
    groups = _groups(program)
    ready = np.zeros(len(program.grid), np.int64)  # groups after which a plane is there
    ready[program.steps[:, PLANE]] = 1 + np.repeat(np.arange(len(groups)), np.ptp(groups, axis=1))
    order = np.argsort(ready[program.head], kind="stable")
    chunks = []
    for first in range(0, order.size, program.tiling.head_planes):
        last = min(first + program.tiling.head_planes, order.size)
        chunks.append((int(ready[program.head[order[last - 1]]]), first, last))
    reads: list[list[int]] = [[] for _ in range(len(groups) + 1)]
    writes: list[list[int]] = [[] for _ in range(len(groups) + 1)]
    for index, (first, last) in enumerate(groups.tolist()):
        steps = program.steps[first:last]
        writes[index] = steps[:, PLANE].tolist()
        reads[index] = program.source[steps[0, FIRST] : steps[-1, LAST]].tolist()
    for after, first, last in chunks:
        reads[max(after - 1, 0)] += program.head[order[first:last]].tolist()
    reads[-1] += [plane for planes in program.outputs for plane in planes.tolist()]
    slots = assign(program.grid, range(program.channels), writes, reads)
    return Schedule(slots, groups, order, np.asarray(chunks, np.int64).reshape(-1, 3))


def _groups(program: PlaneProgram) -> Table:
    """The longest groups of consecutive steps, from the first step on."""
    begins: list[int] = []
    written: set[int] = set()
    for index, (plane, first, last) in enumerate(program.steps[:, [PLANE, FIRST, LAST]].tolist()):
        if not begins or not written.isdisjoint(program.source[first:last].tolist()):
            begins.append(index)
            written = set()
        written.add(plane)
    ends = [*begins[1:], len(program.steps)] if begins else []
    return np.asarray([begins, ends], np.int64).T.copy()


def assign(
    grid: Ids,
    before: Iterable[int],
    writes: Sequence[Sequence[int]],
    reads: Sequence[Sequence[int]],
) -> Ids:
    """Give each plane a place among those of its grid, while it is needed.

    Args:
        grid: of each plane.
        before: planes that are there from the start.
        writes: planes that each step writes.
        reads: planes that each step reads.

    Returns:
        The place of each plane; 0 for those that are never written.
    """
    last: dict[int, int] = {}
    for index, (new, old) in enumerate(zip(writes, reads, strict=True)):
        for plane in (*new, *old):
            last[plane] = index
    slots = np.zeros(len(grid), np.int64)
    free: dict[int, list[int]] = {}
    used: dict[int, int] = {}
    held: set[int] = set()

    def place(plane: int) -> None:
        if plane in held:
            return
        held.add(plane)
        of_grid = int(grid[plane])
        stack = free.setdefault(of_grid, [])
        if not stack:
            stack.append(used.get(of_grid, 0))
            used[of_grid] = stack[0] + 1
        slots[plane] = stack.pop()

    for plane in before:
        place(plane)
    for index, (new, old) in enumerate(zip(writes, reads, strict=True)):
        for plane in new:
            place(plane)
        for plane in sorted({*new, *old}):
            if last[plane] == index:
                free[int(grid[plane])].append(int(slots[plane]))
    return slots
