"""Which convolutions run filter by filter, and with which tiles: decided by measured times."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import fx, nn

from leanline.kernels.call import Call
from leanline.kernels.conv3 import SHAPES, usual_shape
from leanline.kernels.windows import CONVOLVE
from leanline.runtime.builder import Builder
from leanline.runtime.interpret import interpret, set_shapes
from leanline.runtime.measured import Measured
from leanline.runtime.parse import Convolution, parse, shape_of, values_read

SECONDS = 0.004
"""Time that is spent on each candidate, in which it runs twice at least."""


@dataclass(frozen=True)
class Choice:
    """How a convolution is computed, and what was measured (milliseconds an image).

    Attributes:
        sparse: filter by filter, on planes.
        shape: number of the tile's shape there (`conv3.SHAPES`).
        planes_ms: time of the fastest shape.
        dense_ms: time of PyTorch's convolution.
    """

    sparse: bool
    shape: int
    planes_ms: float
    dense_ms: float


def choose(network: fx.GraphModule, measured: Measured) -> Mapping[fx.Node, Choice]:
    """Time every convolution that the plane kernels can do, both ways, on one thread.

    Args:
        network: without batch norms where they can be folded; shapes noted by
            `parse.note_shapes`, at the size that counts.
        measured: times that are known; new ones are added.
    """
    choices = {}
    for node in network.graph.nodes:
        parsed = parse(network, node)
        if isinstance(parsed, Convolution):
            choices[node] = _choose(node, parsed, measured)
    return choices


def usual(network: fx.GraphModule) -> Mapping[fx.Node, Choice]:
    """All convolutions on planes, with the tiles that usually suit them; nothing is measured."""
    choices = {}
    for node in network.graph.nodes:
        shape = shape_of(node)
        if isinstance(parse(network, node), Convolution) and shape is not None:
            tiles = int(usual_shape(shape[3]))
            choices[node] = Choice(True, tiles, float("nan"), float("nan"))
    return choices


def _choose(node: fx.Node, parsed: Convolution, measured: Measured) -> Choice:
    source, target = shape_of(values_read(node)[0]), shape_of(node)
    assert source is not None
    assert target is not None
    layer = parsed.layer
    edges = int(layer.weight.flatten(2).ne(0).any(2).sum())
    what = (parsed.window.row, tuple(layer.weight.shape), layer.groups, tuple(source[2:]))
    dense = measured.get(("dense", *what), lambda: _time_dense(layer, tuple(source[1:])))
    fast = parsed.window.kind == CONVOLVE and parsed.window.row[1:5] == (3, 3, 1, 1)
    shapes = range(len(SHAPES)) if fast else range(1)
    times = [
        measured.get(
            ("planes", SHAPES[shape], edges, *what),
            lambda shape=shape: _time_planes(node, parsed, source, shape),  # type: ignore[misc]
        )
        for shape in shapes
    ]
    best = int(np.argmin(times))
    return Choice(times[best] < dense, best, times[best] * 1e3, dense * 1e3)


def _time_dense(layer: nn.Module, shape: tuple[int, ...]) -> float:
    picture = torch.randn(1, *shape)
    taken: list[float] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            end = time.perf_counter() + SECONDS
            while len(taken) < 2 or time.perf_counter() < end:
                start = time.perf_counter()
                layer(picture).relu_()
                taken.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return min(taken)


def _time_planes(node: fx.Node, parsed: Convolution, source: torch.Size, shape: int) -> float:
    builder = Builder("zeros")
    value = interpret(builder, parsed, [builder.input(source[1])], True)
    set_shapes(builder, value, shape)
    program, numbers = builder.finish([value])
    if not program.source.size:
        return 0.0
    call = Call(program, [torch.randn(1, *source[1:])], "none")
    call.give(
        *(
            torch.from_numpy(np.asarray(part, np.float32).copy())
            for part in (numbers.taps, numbers.bias, numbers.head, numbers.head_bias)
        )
    )
    return call.time(SECONDS)
