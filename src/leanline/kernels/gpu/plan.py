"""What a forward pass needs beside pictures and numbers, made once for a program and a size."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from leanline.kernels.gpu.canvas import Canvas, all_apart
from leanline.kernels.gpu.launches import (
    GATE_NONE,
    GATE_SELF,
    Kind,
    Step,
    Waves,
    kind_of,
    on_device,
)
from leanline.kernels.gpu.waves import forward_waves, shared_places
from leanline.kernels.halo import MODES
from leanline.kernels.layout import filled_borders, grid_sizes
from leanline.kernels.per_program import per_program
from leanline.kernels.program import PlaneProgram, Sizes

Keeps = Literal["all", "none"]
"""Activations that are there after the pass."""


class ForwardPlan:
    """Launches of the forward pass.

    Args:
        program: the program.
        sizes: height and width of each input.
        device: where it runs.
        keeps: "all" activations, for the backward pass, or "none".

    Attributes:
        canvas: where activations lie.
        launches: in order.
        source: offset of each edge's source.
        input_places: grid, first place and one past the last of each input's channels.
        outputs: of each named output: grid, places of its channels.
        head_source: offset of each plane that the head reads.
        head_target: offset of each of the head's outputs in its picture.
        head_grid: grid of the head; -1 without one.

    Raises:
        ModelError: the pictures do not fit the program.
    """

    def __init__(
        self, program: PlaneProgram, sizes: Sizes, device: torch.device, keeps: Keeps
    ) -> None:
        self.program, self.device = program, device
        self.sizes = grid_sizes(program, sizes)
        self.borders = filled_borders(program, self.sizes)
        self.padding = MODES[program.padding]
        waves = forward_waves(program)
        slots = all_apart(program.grid) if keeps == "all" else shared_places(program, waves)
        self.canvas = canvas = Canvas(program.grid, self.sizes, slots, [0] * len(self.sizes))
        collected = Waves()
        for index, (wave, row) in enumerate(
            zip(waves.tolist(), program.steps.tolist(), strict=True)
        ):
            plane, number, first, last, relu, _ = row
            grid, window = int(program.grid[plane]), program.window(number)
            kind = Kind("convolve", grid, grid)
            step = Step(int(canvas.at[plane]), bias=index, gate=GATE_SELF if relu else GATE_NONE)
            if last > first:
                kind = kind_of(window, int(program.sources[index]), grid)
                step = Step(
                    *(step.target, first, last, int(program.taps_at[index]), index, 0, step.gate),
                    window=window,
                )
            collected.add(wave, kind, step)
        self.launches = collected.launches(device)
        self.source = on_device(canvas.at[program.source], device)
        self.input_places = []
        end = 0
        for grid, count in program.inputs.tolist():
            first_place = int(slots[end])
            self.input_places.append((grid, first_place, first_place + count))
            end += count
        self.outputs = [
            (int(program.grid[planes[0]]), on_device(slots[planes], device))
            for planes in program.outputs
        ]
        self.head_grid = int(program.grid[program.head[0]]) if program.head.size else -1
        height, width = self.sizes[self.head_grid]
        self.head_source = on_device(canvas.at[program.head], device)
        targets = np.arange(program.head_outputs, dtype=np.int64) * height * width
        self.head_target = on_device(targets, device)


@per_program(kept=16)
def forward_plan(
    program: PlaneProgram, sizes: Sizes, device: torch.device, keeps: Keeps
) -> ForwardPlan:
    """The plan of a forward pass, made when it is first asked for."""
    return ForwardPlan(program, sizes, device, keeps)
