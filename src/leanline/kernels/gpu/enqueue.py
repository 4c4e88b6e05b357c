"""Starts the kernels: how many programs, and with which arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float32, Float64, Int32, Int64
from torch import Tensor

from leanline.kernels.gpu.canvas import Canvas, Field
from leanline.kernels.gpu.convolve3 import convolve3
from leanline.kernels.gpu.fold import fold
from leanline.kernels.gpu.largest_gradient import largest_gradient, winners
from leanline.kernels.gpu.launches import Kind, Launch
from leanline.kernels.gpu.mix import mix, mix_gradients
from leanline.kernels.gpu.tap_gradients import tap_gradients, tap_gradients3
from leanline.kernels.gpu.windows import convolve, largest, spread
from leanline.kernels.halo import ZEROS

BLOCK = 256
"""Pixels that a program computes side by side; `convolve3` computes four rows of them."""

PART = 16
"""Blocks that a program adds up, at most, for the gradient of a tap."""

OUTPUTS = 8
"""Targets of a dense layer that a program computes together, at most."""

SETTINGS: dict[str, Any] = {"num_warps": 4, "enable_fp_fusion": True}

Numbers = Float32[Tensor, " _"]
Offsets = Int64[Tensor, " _"]


@dataclass(frozen=True)
class Surface:
    """Planes of a batch.

    Attributes:
        buffer: batch x floats of an image.
        canvas: where they lie.
    """

    buffer: Float32[Tensor, "batch size"]
    canvas: Canvas

    def pictures(self, grid: int) -> Float32[Tensor, "batch count height width"]:
        """The planes of a grid, as a view."""
        return self.canvas.view(self.buffer, grid)


def _blocks(pixels: int) -> int:
    return -(-pixels // BLOCK)


def _tall_blocks(height: int, width: int, dilations: Sequence[int]) -> int:
    """Blocks of four rows that are a dilation apart."""
    return max(_blocks(gap * -(-height // (4 * gap)) * width) for gap in dilations)


def _start(
    kernel: Any, tiles: int, rows: int, batch: int, *arguments: Any, **settings: Any
) -> None:
    """Start a kernel on all blocks of all rows of all images."""
    programs = tiles * rows * batch
    if programs:
        kernel[(programs,)](*arguments, BLOCK=BLOCK, **settings, **SETTINGS)


def _window(kind: Kind) -> dict[str, int]:
    return {
        "ROWS": kind.shape[0],
        "COLUMNS": kind.shape[1],
        "ROW_STEP": kind.steps[0],
        "COLUMN_STEP": kind.steps[1],
    }


@dataclass(frozen=True)
class Edges:
    """What steps read.

    Attributes:
        source: offset of each edge's source plane.
        taps: of all edges.
        bias: of all steps; those of the data gradient have the first one.
        winner: see `find_winners`.
    """

    source: Offsets
    taps: Numbers
    bias: Numbers
    winner: Int32[Tensor, "batch size"] | None = None


def run_steps(
    launches: Sequence[Launch],
    edges: Edges,
    planes: Surface,
    out: Surface,
    gates: Surface,
    padding: int,
    border: int = ZEROS,
) -> None:
    """Run steps, wave by wave.

    Args:
        launches: in order.
        edges: what they read.
        planes: where they read it.
        out: what is written.
        gates: activations that decide, for steps that end with a gate.
        padding: what lies around ``planes``, a value of `halo.MODES`.
        border: from where the border of ``out`` was filled, likewise; only folds need it.
    """
    for launch in launches:
        kind = launch.kind
        to = out.canvas.fields[kind.to_grid]
        if kind.kernel in ("fold rows", "fold columns"):
            _fold(launch, out, to, border)
            continue
        kernel, settings = _kernel(kind, padding)
        height, width = to.height + 2 * kind.grown, to.width + 2 * kind.grown
        tiles = _blocks(height * width)
        if kernel is convolve3:
            tiles = _tall_blocks(height, width, launch.dilations)
        numbers: tuple[Any, ...] = (edges.taps, edges.bias)
        ends: tuple[int, ...] = (kind.grown,)
        if edges.winner is not None and kernel is largest_gradient:
            numbers, ends = (edges.winner,), (edges.winner.shape[1],)
        read, gate = planes.canvas.fields[kind.from_grid], gates.canvas.fields[kind.to_grid]
        _start(
            *(kernel, tiles, launch.count, len(out.buffer)),
            *(planes.buffer, out.buffer, gates.buffer, launch.table, edges.source, *numbers),
            *(tiles, launch.count, planes.canvas.size, out.canvas.size, gates.canvas.size),
            *(read.height, read.width, read.stride, to.height, to.width, to.stride),
            *(gate.stride, *ends),
            **settings,
        )


def _kernel(kind: Kind, padding: int) -> tuple[Any, dict[str, int]]:
    """A kernel and what it is compiled for."""
    if kind.kernel == "convolve3":
        return convolve3, {"PADDING": padding}
    if kind.kernel == "convolve":
        return convolve, {**_window(kind), "PADDING": padding}
    if kind.kernel == "spread":
        periods = {"ROW_PERIOD": kind.periods[0], "COLUMN_PERIOD": kind.periods[1]}
        return spread, {**_window(kind), **periods}
    return {"largest": largest, "largest_gradient": largest_gradient}[kind.kernel], _window(kind)


def _fold(launch: Launch, out: Surface, field: Field, border: int) -> None:
    if launch.kind.kernel == "fold rows":
        lanes = (-field.border, field.stride, 1, field.height, field.stride)
    else:
        lanes = (0, field.height, field.stride, field.width, 1)
    tiles = _blocks(lanes[1])
    arguments = (out.buffer, launch.table, tiles, launch.count, out.canvas.size, *lanes)
    _start(fold, tiles, launch.count, len(out.buffer), *arguments, field.border, PADDING=border)


def find_winners(
    launches: Sequence[Launch], planes: Surface, source: Offsets, size: int
) -> Int32[Tensor, "batch size"]:
    """Which tap won each window of the steps that take the largest value."""
    batch = len(planes.buffer)
    found = planes.buffer.new_empty((batch, size), dtype=torch.int32)
    for launch in launches:
        kind = launch.kind
        read = planes.canvas.fields[kind.from_grid]
        to = planes.canvas.fields[kind.to_grid]
        tiles = _blocks(to.height * to.width)
        _start(
            *(winners, tiles, launch.count, batch, planes.buffer, found, launch.table, source),
            *(tiles, launch.count, planes.canvas.size, size),
            *(read.height, read.width, read.stride, to.height, to.width),
            **_window(kind),
        )
    return found


def sum_tap_gradients(
    launch: Launch, still: Surface, moving: Surface, padding: int
) -> Float64[Tensor, " taps"]:
    """Gradients of the taps of all edges of a launch."""
    kind, batch = launch.kind, len(still.buffer)
    stays, moves = still.canvas.fields[kind.to_grid], moving.canvas.fields[kind.from_grid]
    taps = kind.shape[0] * kind.shape[1]
    settings: dict[str, int]
    if kind.kernel == "tap_gradients3":
        kernel, rows, settings = tap_gradients3, launch.count, {"PADDING": padding}
        blocks = _tall_blocks(stays.height, stays.width, launch.dilations)
    else:
        kernel, rows = tap_gradients, launch.count * taps
        settings = {**_window(kind), "PADDING": padding}
        blocks = _blocks(stays.height * stays.width)
    tiles = -(-blocks // PART)
    parts = tiles * batch
    sums = still.buffer.new_empty((launch.count * taps, parts))
    _start(
        *(kernel, tiles, rows, batch, still.buffer, moving.buffer, sums, launch.table),
        *(tiles, rows, PART, blocks, still.canvas.size, moving.canvas.size),
        *(stays.height, stays.width, stays.stride, moves.height, moves.width, moves.stride),
        parts,
        **settings,
    )
    return sums.sum(1, dtype=torch.float64)


def _together(targets: int) -> int:
    """How many targets a program computes: a power of 2."""
    return min(OUTPUTS, 1 << (targets - 1).bit_length())


def run_mix(
    planes: tuple[Float32[Tensor, "batch size"], Offsets, int],
    out: tuple[Float32[Tensor, "batch _"], Offsets, int],
    size: tuple[int, int],
    matrix: Float32[Tensor, "targets sources"],
    bias: Numbers | None,
) -> None:
    """Apply a dense 1x1 layer.

    Args:
        planes: what is read: buffer, offset of each source, floats from row to row.
        out: what is written, likewise.
        size: height and width.
        matrix: contiguous.
        bias: what targets start from; None adds to what they hold.
    """
    targets, sources = matrix.shape
    outputs, tiles = _together(targets), _blocks(size[0] * size[1])
    rows = -(-targets // outputs)
    _start(
        *(mix, tiles, rows, len(out[0]), planes[0], out[0], planes[1], out[1], matrix),
        *(matrix if bias is None else bias, tiles, rows, planes[0].shape[1], out[0].shape[1]),
        *(sources, targets, *size, planes[2], out[2]),
        ADD=bias is None,
        OUTPUTS=outputs,
    )


def sum_mix_gradients(
    planes: tuple[Float32[Tensor, "batch size"], Offsets, int],
    grads: Float32[Tensor, "batch targets height width"],
) -> Float64[Tensor, "targets sources"]:
    """Gradient of a dense layer's matrix, from its sources and its targets' gradient."""
    batch, targets, height, width = grads.shape
    sources = len(planes[1])
    outputs, blocks = _together(targets), _blocks(height * width)
    rows, tiles = -(-targets // outputs) * sources, -(-blocks // PART)
    sums = grads.new_empty((targets * sources, tiles * batch))
    _start(
        *(mix_gradients, tiles, rows, batch, planes[0], grads, planes[1], sums),
        *(tiles, rows, PART, blocks, planes[0].shape[1], sources, targets),
        *(height, width, planes[2], tiles * batch),
        OUTPUTS=outputs,
    )
    return sums.sum(1, dtype=torch.float64).reshape(targets, sources)
