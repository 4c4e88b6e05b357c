"""What a backward pass needs beside pictures and numbers, made once for a program and a size."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from leanline.kernels.conv3 import GATE_OTHER as IS_GATED
from leanline.kernels.conv3 import START_FROM_PLANE
from leanline.kernels.gpu.canvas import Canvas, all_apart
from leanline.kernels.gpu.launches import (
    GATE_NONE,
    GATE_OTHER,
    Kind,
    Launch,
    Step,
    Waves,
    kind_of,
    on_device,
)
from leanline.kernels.gpu.plan import ForwardPlan, forward_plan
from leanline.kernels.gradients import Gradients, data_gradients
from leanline.kernels.per_program import per_program
from leanline.kernels.program import FIRST, LAST, PLANE, Ids, PlaneProgram, Sizes
from leanline.kernels.windows import CONVOLVE, LARGEST, SPREAD, Window

Until = Literal["images", "parameters"]
"""How far gradients go."""


class BackwardPlan:
    """Launches of the backward pass; every plane's gradient has a place of its own.

    Where pictures are surrounded by copies of their pixels, the gradients of those are computed
    too, folded into the pictures, and only then do ReLUs decide what passes.

    Args:
        forward: the plan that kept the activations.
        until: which gradients are wanted.

    Attributes:
        canvas: where gradients lie.
        launches: of the data gradient, in order.
        source: offset of each mirrored edge's source.
        taps: for each tap of the mirrored edges its place among the program's taps.
        winners: launches that find out which pixels were the largest.
        winner_source: offset of the activations that those look at.
        winner_size: numbers that they write for an image.
        seeds: for each named output rounds of: its channels, places of their planes.
        head_rounds: rounds of: columns of the head, offsets of their planes.
        tap_launches: for "still" gradients (convolutions) and "still" activations (transposed
            ones): launches of tap gradients, each with the places of its results.
        bias_at: place of each step's plane among the planes of all grids.
    """

    def __init__(self, forward: ForwardPlan, until: Until) -> None:
        program = forward.program
        self._forward, self._program = forward, program
        self.canvas = Canvas(program.grid, forward.sizes, all_apart(program.grid), forward.borders)
        self._mirror: Gradients = data_gradients(program)
        self._steps = Waves()
        self._looks = Waves()
        self._looked: list[int] = []
        self.winner_size = 0
        self._plan_data(0 if until == "images" else program.channels)
        device = forward.device
        self.launches = self._steps.launches(device)
        self.source = on_device(self.canvas.at[self._mirror.source], device)
        self.taps = on_device(self._mirror.taps, device)
        self.winners = self._looks.launches(device)
        self.winner_source = on_device(np.asarray(self._looked, np.int64), device)
        slots = self.canvas.slots
        self.seeds = [
            [
                (on_device(ids, device), on_device(slots[planes[ids]], device))
                for ids in once(planes)
            ]
            for planes in program.outputs
        ]
        self.head_rounds = [
            (on_device(ids, device), on_device(self.canvas.at[program.head[ids]], device))
            for ids in once(program.head)
        ]
        self.tap_launches = {
            "gradients": self._plan_taps(CONVOLVE),
            "activations": self._plan_taps(SPREAD),
        }
        starts = np.cumsum([0, *(field.count for field in self.canvas.fields)])
        planes = program.steps[:, PLANE]
        self.bias_at = on_device(starts[program.grid[planes]] + slots[planes], device)

    def _plan_data(self, lowest: int) -> None:
        """Collect the steps of the data gradient, down to plane ``lowest``."""
        mirror, ready = self._mirror, np.zeros(len(self._program.grid), np.int64)
        planes = mirror.steps[:, PLANE].tolist()
        wave, folds, gated = 0, False, False
        for index, plane in enumerate(planes):
            if plane < lowest:
                continue
            if index == 0 or planes[index - 1] != plane:
                wave, folds = 0, False
            first, last = mirror.steps[index, [FIRST, LAST]].tolist()
            is_last = index + 1 == len(planes) or planes[index + 1] != plane
            gated = int(mirror.steps[index, 5]) == IS_GATED
            wave = max(wave, int(ready[mirror.source[first:last]].max(initial=0)))
            folds |= self._grown(index) > 0
            if last > first:
                self._add_row(wave, index, GATE_OTHER if gated and not folds else GATE_NONE)
                wave += 1
            if is_last:
                apart = gated and (folds or last == first)
                ready[plane] = self._finish(wave, plane, folds, apart)

    def _grown(self, index: int) -> int:
        """Pixels around the picture to which a row's gradients reach."""
        _, _, first, last, _, _, whole, _, to_grid = self._mirror.steps[index].tolist()
        return self.canvas.fields[to_grid].border if whole and last > first else 0

    def _add_row(self, wave: int, index: int, gate: int) -> None:
        mirror, program = self._mirror, self._program
        plane, number, first, last, start, _, _, from_grid, to_grid = mirror.steps[index].tolist()
        activation = int(self._forward.canvas.at[plane])
        window = program.window(number)
        taps = int(mirror.taps_at[index])
        kind = kind_of(window.mirrored, from_grid, to_grid, self._grown(index))
        if window.kind == LARGEST:
            shape, steps = (window.rows, window.columns), (window.row_step, window.column_step)
            kind = Kind("largest_gradient", from_grid, to_grid, shape, steps)
            look = Kind("winners", to_grid, from_grid, shape, steps)
            taps, at = self.winner_size, len(self._looked)
            self._looks.add(0, look, Step(taps, at, at + 1, window=window))
            self._looked.append(activation)
            field = self.canvas.fields[from_grid]
            self.winner_size += field.height * field.width
        keeps = int(start == START_FROM_PLANE)
        target = int(self.canvas.at[plane])
        step = Step(target, first, last, taps, 0, keeps, gate, activation, window.mirrored)
        self._steps.add(wave, kind, step)

    def _finish(self, wave: int, plane: int, folds: bool, gated: bool) -> int:
        """Fold a plane's border and apply its gate; the wave from which on it can be read."""
        grid, target = int(self._program.grid[plane]), int(self.canvas.at[plane])
        if folds:
            self._steps.add(wave, Kind("fold rows", grid, grid), Step(target))
            self._steps.add(wave + 1, Kind("fold columns", grid, grid), Step(target))
            wave += 2
        if gated:
            at = int(self._forward.canvas.at[plane])
            step = Step(target, keeps=1, gate=GATE_OTHER, gate_at=at)
            self._steps.add(wave, Kind("convolve", grid, grid), step)
            wave += 1
        return wave

    def _plan_taps(self, kind: int) -> list[tuple[Launch, torch.Tensor]]:
        """Launches of tap gradients for all windows of a kind, and where their results go."""
        program, gradients = self._program, self.canvas.at
        activations = self._forward.canvas.at
        waves, places = Waves(), dict[Kind, list[Ids]]()
        for index, row in enumerate(program.steps.tolist()):
            plane, number, first, last = row[:4]
            window = program.window(number)
            if window.kind != kind:
                continue
            grids = (int(program.sources[index]), int(program.grid[plane]))
            group = _tap_kind(window, *(grids if kind == CONVOLVE else grids[::-1]))
            for edge, source in enumerate(program.source[first:last].tolist()):
                still, moving = int(gradients[plane]), int(activations[source])
                if kind == SPREAD:
                    still, moving = moving, still
                waves.add(0, group, Step(still, moving, window=window))
                at = int(program.taps_at[index]) + edge * window.taps
                places.setdefault(group, []).append(np.arange(at, at + window.taps))
        device = self._forward.device
        return [
            (launch, on_device(np.concatenate(places[launch.kind]), device))
            for launch in waves.launches(device)
        ]


def _tap_kind(window: Window, moving: int, still: int) -> Kind:
    shape, steps = (window.rows, window.columns), (window.row_step, window.column_step)
    same = window.row_dilation == window.column_dilation
    name = "tap_gradients3" if shape == (3, 3) and steps == (1, 1) and same else "tap_gradients"
    return Kind(name, moving, still, shape, steps)


def once(planes: Ids) -> list[Ids]:
    """Positions in ``planes``, in rounds in which no plane occurs twice."""
    seen: dict[int, int] = {}
    rounds: list[list[int]] = []
    for position, plane in enumerate(planes.tolist()):
        number = seen.get(plane, 0)
        seen[plane] = number + 1
        if number == len(rounds):
            rounds.append([])
        rounds[number].append(position)
    return [np.asarray(positions, np.int64) for positions in rounds]


@per_program(kept=8)
def backward_plan(
    program: PlaneProgram, sizes: Sizes, device: torch.device, until: Until
) -> BackwardPlan:
    """The plan of a backward pass, made when it is first asked for."""
    return BackwardPlan(forward_plan(program, sizes, device, "all"), until)
