"""Grows a plane program value by value, and collects the numbers it is run with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from leanline.kernels.program import Ids, PlaneProgram
from leanline.kernels.windows import CONVOLVE, SPREAD, Window

ZERO = -1
"""The plane id of a channel that is zero everywhere."""

POINT = Window(CONVOLVE, 1, 1)
"""The window of sums and copies."""

Taps = Float[np.ndarray, "edges taps"]


@dataclass(frozen=True, eq=False)
class Value:
    """Channels of a network's value as planes.

    Attributes:
        planes: a plane for each channel, or `ZERO`.
        grid: of all of them.
        around: padding that the next convolution absorbs: top, left, bottom, right.
        fresh: each plane was computed for this value alone.
    """

    planes: tuple[int, ...]
    grid: int
    around: tuple[int, int, int, int] = (0, 0, 0, 0)
    fresh: bool = False


@dataclass(eq=False)
class Step:
    """How a plane is computed. Numbers that come from a layer are `learned`, others fixed."""

    plane: int
    grid: int
    window: Window
    source: Ids
    taps: Taps
    bias: float
    learned: bool
    relu: bool = False
    shape: int = 0


@dataclass(frozen=True, eq=False)
class Numbers:
    """What a program is run with, and which of it comes from layers (float64, bool)."""

    taps: np.ndarray
    bias: np.ndarray
    head: np.ndarray
    head_bias: np.ndarray
    learned_taps: np.ndarray
    learned_bias: np.ndarray


@dataclass(eq=False)
class Head:
    """The final dense 1x1 layer."""

    planes: tuple[int, ...]
    matrix: Float[np.ndarray, "outputs channels"]
    bias: Float[np.ndarray, " outputs"]


@dataclass(eq=False)
class Builder:
    """The program so far.

    Attributes:
        padding: what lies around pictures; all padded windows share it.
    """

    padding: str = "zeros"
    inputs: list[tuple[int, int]] = field(default_factory=list)  # grid, channels
    grid: list[int] = field(default_factory=list)  # of each plane
    steps: dict[int, Step] = field(default_factory=dict)
    head: Head | None = None
    _same: list[int] = field(default_factory=list)  # union-find over grids
    _marks: dict[int, int] = field(default_factory=dict)  # a plane of each grid, made with it
    _zeros: dict[int, int] = field(default_factory=dict)

    def new_grid(self) -> int:
        """A grid of its own."""
        self._same.append(len(self._same))
        return len(self._same) - 1

    def root(self, grid: int) -> int:
        """The number under which a grid goes."""
        while self._same[grid] != grid:
            grid = self._same[grid]
        return grid

    def join(self, grids: Sequence[int]) -> int:
        """Make grids one, because an operation needs planes of one size."""
        first = min(self.root(grid) for grid in grids)
        for grid in grids:
            self._same[self.root(grid)] = first
        return first

    def input(self, channels: int) -> Value:
        """Planes for the channels of an input; all inputs come first."""
        grid = self.new_grid()
        first = self._marks[grid] = len(self.grid)
        self.inputs.append((grid, channels))
        self.grid += [grid] * channels
        return Value(tuple(range(first, first + channels)), grid)

    def add(
        self, window: Window, grid: int, source: Ids, taps: Taps, bias: float, learned: bool
    ) -> int:
        """Compute a plane; returns its number. One without sources is constant."""
        plane = len(self.grid)
        root = self.root(grid)
        if not source.size:
            # what no input is has to read something, which says of which size it is
            marks = [self._marks[root]] if root >= len(self.inputs) else []
            window, source, taps = POINT, np.asarray(marks, np.int64), np.zeros((len(marks), 1))
        self.grid.append(grid)
        self.steps[plane] = Step(plane, grid, window, source, taps, bias, learned)
        return plane

    def target(self, window: Window, grid: int) -> int:
        """The grid that a window leads to: the same one where it keeps every size."""
        probes = ((64, 64), (37, 91))
        if window.kind == CONVOLVE and all(window.output(*size) == size for size in probes):
            return grid
        new, root = self.new_grid(), self.root(grid)
        source = np.asarray([self._marks[root]], np.int64)
        alike = Window(window.kind if window.kind == SPREAD else CONVOLVE, *window.row[1:])
        taps = np.zeros((1, alike.taps))
        self._marks[new] = self.add(alike, new, source, taps, 0.0, False)
        return new

    def zero(self, grid: int) -> int:
        """A plane of zeros."""
        grid = self.root(grid)
        if grid >= len(self.inputs):
            return self._marks[grid]
        if grid not in self._zeros:
            nothing = np.zeros(0, np.int64)
            self._zeros[grid] = self.add(POINT, grid, nothing, np.zeros((0, 1)), 0.0, False)
        return self._zeros[grid]

    def finish(self, outputs: Sequence[Value]) -> tuple[PlaneProgram, Numbers]:
        """Assemble what the outputs need.

        Args:
            outputs: each becomes a tensor; the head's, where there is one, comes last.
        """
        groups = [
            [self.zero(value.grid) if plane == ZERO else plane for plane in value.planes]
            for value in outputs
        ]
        head = Head((), np.zeros((0, 0)), np.zeros(0)) if self.head is None else self.head
        chosen = [c for c, plane in enumerate(head.planes) if plane != ZERO]
        read = [head.planes[c] for c in chosen]
        if self.head is not None and not read:
            raise AssertionError("a head that reads nothing")
        needed = {plane for group in groups for plane in group} | set(read)
        for plane in sorted(self.steps, reverse=True):
            if plane in needed:
                needed.update(self.steps[plane].source.tolist())
        live = [step for plane, step in sorted(self.steps.items()) if plane in needed]
        channels = sum(count for _, count in self.inputs)
        number = np.full(len(self.grid), -1, np.int64)
        number[:channels] = np.arange(channels)
        for index, step in enumerate(live):
            number[step.plane] = channels + index
        windows = list(dict.fromkeys([POINT, *(step.window for step in live)]))
        kept = [*range(channels), *(step.plane for step in live)]
        roots = [self.root(self.grid[plane]) for plane in kept]
        grids = {root: index for index, root in enumerate(dict.fromkeys(roots))}
        counts = np.cumsum([0, *(step.source.size for step in live)])
        rows = [
            (
                number[step.plane],
                windows.index(step.window),
                counts[i],
                counts[i + 1],
                step.relu,
                step.shape,
            )
            for i, step in enumerate(live)
        ]
        program = PlaneProgram(
            inputs=_ids([(grids[self.root(grid)], n) for grid, n in self.inputs]).reshape(-1, 2),
            grid=_ids([grids[root] for root in roots]),
            windows=_ids([window.row for window in windows]),
            steps=_ids(rows).reshape(-1, 6),
            source=_joined([number[step.source] for step in live], np.int64),
            outputs=tuple(number[group] for group in groups),
            head=number[read],
            head_outputs=len(head.matrix) if read else 0,
            padding=self.padding,
        )
        taps = [step.taps.reshape(-1) for step in live]
        numbers = Numbers(
            taps=_joined(taps, np.float64),
            bias=np.asarray([step.bias for step in live], np.float64),
            head=head.matrix[:, chosen],
            head_bias=head.bias,
            learned_taps=_joined(
                [np.full(t.size, s.learned) for t, s in zip(taps, live, strict=True)], bool
            ),
            learned_bias=np.asarray([step.learned for step in live], bool),
        )
        return program, numbers


def _ids(values: Sequence[object]) -> np.ndarray:
    return np.asarray(values, np.int64)


def _joined(parts: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype)
