"""The data gradient of a plane program, as steps of the same kind that run backwards."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from leanline.kernels.conv3 import GATE_NONE, GATE_OTHER, START_FROM_BIAS, START_FROM_PLANE
from leanline.kernels.program import FIRST, LAST, PLANE, Ids, PlaneProgram, Table
from leanline.kernels.schedule import assign
from leanline.kernels.windows import CONVOLVE, Window


@dataclass(frozen=True, eq=False)
class Gradients:
    """Data gradient as steps: edges that read the consumers' gradient planes.

    Attributes:
        windows: numbers of the windows that take gradients back, one for each of the program's.
        steps: a row a group of a plane's consumers with one window, consumers before producers,
            inputs last: plane, window, first edge, last edge, start, gate, 1 if the border is
            computed too, grid that is read, grid that is written.
        source: plane whose gradient each edge reads.
        taps: for each tap of the edges, in order, its place among the program's taps.
        taps_at: where each row's taps begin.
        first_taps: where the taps of each edge begin among the program's.
        slots: place of each plane's gradient among those of its grid.
    """

    windows: Table
    steps: Table
    source: Ids
    taps: Ids
    taps_at: Ids
    first_taps: Ids
    slots: Ids


def data_gradients(program: PlaneProgram) -> Gradients:
    """Plan the backward pass of a program.

    A plane's consumers may have different windows: they are grouped, the first group starts from
    what the head (or the output's gradient) left in the plane, the last one applies the gate of
    the plane's ReLU, to the border too: convolutions, which reach it, come last. Planes that nobody
    reads get an empty step, so that every plane is written.
    """
    readers: dict[int, dict[tuple[int, int], list[tuple[int, int]]]] = defaultdict(dict)
    gated = set()
    for step, (plane, window, first, last, relu, _) in enumerate(program.steps.tolist()):
        if relu:
            gated.add(plane)
        taps = program.window(window).taps
        for edge in range(first, last):
            group = readers[int(program.source[edge])].setdefault(
                (window, int(program.grid[plane])), []
            )
            group.append((plane, int(program.taps_at[step]) + (edge - first) * taps))
    given = list(dict.fromkeys(p for ids in program.outputs for p in ids.tolist()))
    seeded = {*program.head.tolist(), *given}
    rows: list[tuple[int, ...]] = []
    source: list[int] = []
    places: list[np.ndarray] = [np.zeros(0, np.int64)]
    begins: list[int] = []
    at = [0]
    computed = program.steps[::-1, PLANE].tolist()
    for plane in [*computed, *range(program.channels)]:
        groups = sorted(
            readers[plane].items(),
            key=lambda item: (program.window(item[0][0]).kind == CONVOLVE, item[0]),
        )
        for index, ((window, grid), group) in enumerate(groups or [((0, -1), [])]):
            start = START_FROM_PLANE if index or plane in seeded else START_FROM_BIAS
            final = index == max(len(groups), 1) - 1 and plane in gated
            shape = program.window(window)
            first = len(source)
            source += [consumer for consumer, _ in group]
            for _, begin in group:
                begins.append(begin)
                places.append(_mirror(shape, begin))
            at.append(at[-1] + shape.taps * len(group))
            rows.append(
                (
                    plane,
                    window,
                    first,
                    len(source),
                    start,
                    GATE_OTHER if final else GATE_NONE,
                    shape.kind == CONVOLVE,
                    program.grid[plane] if grid < 0 else grid,
                    program.grid[plane],
                )
            )
    table = np.asarray(rows, np.int64).reshape(-1, 9)
    reads = [source[first:last] for first, last in table[:, [FIRST, LAST]].tolist()]
    reads[-1] = [*reads[-1], *range(program.channels)]  # the inputs' gradients stay to the end
    windows = [program.window(i).mirrored.row for i in range(len(program.windows))]
    return Gradients(
        windows=np.asarray(windows, np.int64).reshape(len(windows), -1),
        steps=table,
        source=np.asarray(source, np.int64),
        taps=np.concatenate(places),
        taps_at=np.asarray(at[:-1], np.int64),
        first_taps=np.asarray(begins, np.int64),
        slots=assign(program.grid, given, [[plane] for plane in table[:, PLANE].tolist()], reads),
    )


def _mirror(window: Window, begin: int) -> Ids:
    """Places of an edge's taps, mirrored where the window is a convolution of stride 1."""
    ids = begin + np.arange(window.taps)
    return ids[::-1] if window.mirrored.kind == CONVOLVE and window.kind == CONVOLVE else ids
