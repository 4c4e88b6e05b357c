"""Which steps of a program can run at the same time."""

from __future__ import annotations

import numpy as np

from leanline.kernels.program import FIRST, LAST, PLANE, Ids, PlaneProgram
from leanline.kernels.schedule import assign


def forward_waves(program: PlaneProgram) -> Ids:
    """Wave of each step, from 0 on: the one after the last wave that it reads from."""
    ready = np.zeros(len(program.grid), np.int64)
    waves = np.zeros(len(program.steps), np.int64)
    for index, (plane, first, last) in enumerate(program.steps[:, [PLANE, FIRST, LAST]].tolist()):
        waves[index] = ready[program.source[first:last]].max(initial=0)
        ready[plane] = waves[index] + 1
    return waves


def shared_places(program: PlaneProgram, waves: Ids) -> Ids:
    """Place of each plane where planes that nobody reads any more give theirs to later waves.

    What outputs and the head read stays to the end.
    """
    count = int(waves.max(initial=-1)) + 1
    writes: list[list[int]] = [[] for _ in range(count + 1)]
    reads: list[list[int]] = [[] for _ in range(count + 1)]
    for (plane, first, last), wave in zip(
        program.steps[:, [PLANE, FIRST, LAST]].tolist(), waves.tolist(), strict=True
    ):
        writes[wave].append(plane)
        reads[wave] += program.source[first:last].tolist()
    for planes in (*program.outputs, program.head):
        reads[-1] += planes.tolist()
    return assign(program.grid, range(program.channels), writes, reads)
