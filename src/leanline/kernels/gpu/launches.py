"""Steps as rows of a table, and the launches that run them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from leanline.kernels.windows import CONVOLVE, LARGEST, SPREAD, Window

ROW = 12
"""Numbers of a row: see `Step`."""

GATE_NONE, GATE_SELF, GATE_OTHER = 0, 1, 2
"""What a step ends with: nothing, its own ReLU, or the gate of an activation's ReLU."""


@dataclass(frozen=True)
class Kind:
    """What the steps of one launch have in common.

    Attributes:
        kernel: name of the kernel.
        from_grid: grid of the planes that are read.
        to_grid: grid of the planes that are written.
        shape: taps along rows and columns.
        steps: strides along rows and columns.
        periods: taps from one that meets a pixel to the next that does (transposed convolutions).
        grown: pixels around the picture that are computed too.
    """

    kernel: str
    from_grid: int
    to_grid: int
    shape: tuple[int, int] = (1, 1)
    steps: tuple[int, int] = (1, 1)
    periods: tuple[int, int] = (1, 1)
    grown: int = 0


@dataclass(frozen=True)
class Step:
    """One plane that a launch computes.

    Attributes:
        target: offset of the plane that is written.
        first: first edge.
        last: one past the last edge.
        taps: where the taps of the first edge begin; where the winners lie (`largest_gradient`).
        bias: number of the bias.
        keeps: 1 if the step adds to what the plane holds.
        gate: `GATE_NONE`, `GATE_SELF` or `GATE_OTHER`.
        gate_at: offset of the plane that decides, for `GATE_OTHER`.
        window: what it does with each source.
    """

    target: int
    first: int = 0
    last: int = 0
    taps: int = 0
    bias: int = 0
    keeps: int = 0
    gate: int = GATE_NONE
    gate_at: int = 0
    window: Window = Window(CONVOLVE, 1, 1)  # noqa: RUF009 (frozen)

    @property
    def row(self) -> tuple[int, ...]:
        """The numbers as `indices.read_step` takes them."""
        window = self.window
        return (
            *(self.target, self.first, self.last, self.taps, self.bias),
            *(self.keeps, self.gate, self.gate_at),
            *(window.row_dilation, window.column_dilation, window.top, window.left),
        )


@dataclass(frozen=True)
class Launch:
    """Steps that run together.

    Attributes:
        kind: what they have in common.
        table: their rows, on the device.
        count: how many they are.
        dilations: those of their windows along the rows, each once.
    """

    kind: Kind
    table: Tensor
    count: int
    dilations: tuple[int, ...]


def kind_of(window: Window, from_grid: int, to_grid: int, grown: int = 0) -> Kind:
    """The launch that a step with a window belongs to."""
    shape = (window.rows, window.columns)
    steps = (window.row_step, window.column_step)
    gaps = (window.row_dilation, window.column_dilation)
    if window.kind == LARGEST:
        return Kind("largest", from_grid, to_grid, shape, steps)
    if window.kind == SPREAD:
        periods = tuple(s // int(np.gcd(s, g)) for s, g in zip(steps, gaps, strict=True))
        return Kind("spread", from_grid, to_grid, shape, steps, (periods[0], periods[1]), grown)
    if shape == (3, 3) and steps == (1, 1) and gaps[0] == gaps[1]:
        return Kind("convolve3", from_grid, to_grid, shape, grown=grown)
    return Kind("convolve", from_grid, to_grid, shape, steps, grown=grown)


class Waves:
    """Steps, collected wave by wave."""

    def __init__(self) -> None:
        self._waves: dict[int, dict[Kind, list[Step]]] = {}

    def add(self, wave: int, kind: Kind, step: Step) -> None:
        """Put a step into a wave; waves run by their number."""
        self._waves.setdefault(wave, {}).setdefault(kind, []).append(step)

    def launches(self, device: torch.device) -> tuple[Launch, ...]:
        """All launches in order, their tables on a device."""
        groups = [group for wave in sorted(self._waves) for group in self._waves[wave].items()]
        rows = [step.row for _, steps in groups for step in steps]
        table = on_device(np.asarray(rows, np.int64).reshape(-1, ROW), device)
        found, first = [], 0
        for kind, steps in groups:
            gaps = tuple(sorted({step.window.row_dilation for step in steps}))
            found.append(Launch(kind, table[first : first + len(steps)], len(steps), gaps))
            first += len(steps)
        return tuple(found)


def on_device(numbers: Int64[np.ndarray, "..."], device: torch.device) -> Int64[Tensor, "..."]:
    """A table or a list of numbers as the kernels read it."""
    return torch.from_numpy(np.ascontiguousarray(numbers)).to(device)
