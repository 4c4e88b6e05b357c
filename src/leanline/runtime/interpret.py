"""Turns parsed operations into planes and steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor, nn

from leanline.kernels.windows import Window
from leanline.runtime.builder import POINT, ZERO, Builder, Head, Value
from leanline.runtime.parse import (
    Affine,
    Convolution,
    Join,
    Pad,
    Parsed,
    Pool,
    Relu,
    Sum,
    Take,
    Zeros,
)


def interpret(builder: Builder, parsed: Parsed, sources: Sequence[Value], alone: bool) -> Value:
    """Add an operation to a program.

    Args:
        builder: the program so far.
        parsed: the operation.
        sources: what it reads.
        alone: nothing else reads them.
    """
    return _RULES[type(parsed)](builder, parsed, sources, alone)


def set_head(builder: Builder, parsed: Convolution, source: Value) -> None:
    """Make a dense 1x1 convolution the program's last layer."""
    weight = _numpy(parsed.layer.weight)[:, :, 0, 0]
    bias = np.zeros(len(weight)) if parsed.layer.bias is None else _numpy(parsed.layer.bias)
    builder.head = Head(source.planes, weight, bias)


def set_shapes(builder: Builder, value: Value, shape: int) -> None:
    """Compute a value's planes with another shape of tiles."""
    for plane in value.planes:
        if plane in builder.steps:
            builder.steps[plane].shape = shape


def _numpy(tensor: Tensor) -> Any:
    return tensor.detach().cpu().numpy()


def _convolution(builder: Builder, parsed: Any, sources: Sequence[Value], _: bool) -> Value:
    (source,), layer, window = sources, parsed.layer, parsed.window
    top, left, bottom, right = source.around
    window = replace(
        window,
        top=window.top + top,
        left=window.left + left,
        bottom=window.bottom + bottom,
        right=window.right + right,
    )
    weight = _numpy(layer.weight)
    if isinstance(layer, nn.ConvTranspose2d):
        weight = _by_output(weight, layer.groups)
    taps = weight.reshape(*weight.shape[:2], -1)
    present = taps.any(2)
    bias = np.zeros(len(taps)) if layer.bias is None else _numpy(layer.bias)
    planes = np.asarray(source.planes, np.int64)
    per_group, outs = weight.shape[1], len(weight) // layer.groups
    grid = builder.target(window, builder.root(source.grid))
    result = []
    for out in range(len(weight)):
        first = out // outs * per_group
        there = np.flatnonzero(present[out] & (planes[first : first + per_group] != ZERO))
        if not there.size and not bias[out]:
            result.append(ZERO)
            continue
        read = planes[first + there]
        result.append(builder.add(window, grid, read, taps[out, there], float(bias[out]), True))
    return Value(tuple(result), grid, fresh=True)


def _by_output(weight: Any, groups: int) -> Any:
    """A transposed convolution's weight as outputs x inputs of a group x taps."""
    parts = weight.reshape(groups, -1, *weight.shape[1:])
    return np.concatenate([part.swapaxes(0, 1) for part in parts])


def _affine(builder: Builder, parsed: Any, sources: Sequence[Value], _: bool) -> Value:
    (source,) = sources
    factor, shift = _numpy(parsed.factor), _numpy(parsed.shift)
    result = []
    for plane, f, s in zip(source.planes, factor, shift, strict=True):
        read = np.asarray([plane] if plane != ZERO and f else [], np.int64)
        if not read.size and not s:
            result.append(ZERO)
            continue
        taps = np.full((read.size, 1), f)
        result.append(builder.add(POINT, source.grid, read, taps, float(s), True))
    return Value(tuple(result), source.grid, fresh=True)


def _each(builder: Builder, source: Value, window: Window, tap: float | None) -> Value:
    """The same window on every channel."""
    grid = builder.target(window, builder.root(source.grid))
    taps = np.full((1, window.taps), 0.0 if tap is None else tap)
    made: dict[int, int] = {ZERO: ZERO}
    for plane in source.planes:
        if plane not in made:
            read = np.asarray([plane], np.int64)
            made[plane] = builder.add(window, grid, read, taps, 0.0, False)
    fresh = len(set(source.planes)) == len(source.planes)
    return Value(tuple(made[plane] for plane in source.planes), grid, fresh=fresh)


def _pool(builder: Builder, parsed: Any, sources: Sequence[Value], _: bool) -> Value:
    return _each(builder, sources[0], parsed.window, parsed.tap)


def _relu(builder: Builder, _: Any, sources: Sequence[Value], alone: bool) -> Value:
    (source,) = sources
    value = source if source.fresh and alone else _each(builder, source, POINT, 1.0)
    for plane in value.planes:
        if plane != ZERO:
            builder.steps[plane].relu = True
    return replace(value, fresh=False)


def _sum(builder: Builder, _: Any, sources: Sequence[Value], alone: bool) -> Value:
    grid = builder.join([source.grid for source in sources])
    result, made = [], 0
    for channel in zip(*(source.planes for source in sources), strict=True):
        terms = np.asarray([plane for plane in channel if plane != ZERO], np.int64)
        if terms.size < 2:  # adding zero
            result.append(int(terms[0]) if terms.size else ZERO)
            continue
        made += 1
        result.append(builder.add(POINT, grid, terms, np.ones((terms.size, 1)), 0.0, False))
    return Value(tuple(result), grid, fresh=made == len(result))


def _join(builder: Builder, _: Any, sources: Sequence[Value], alone: bool) -> Value:
    grid = builder.join([source.grid for source in sources])
    return Value(tuple(plane for source in sources for plane in source.planes), grid)


def _take(builder: Builder, parsed: Any, sources: Sequence[Value], _: bool) -> Value:
    (source,) = sources
    return Value(tuple(source.planes[c] for c in parsed.channels), source.grid)


def _zeros(builder: Builder, parsed: Any, sources: Sequence[Value], _: bool) -> Value:
    return Value((ZERO,) * parsed.count, sources[0].grid)


def _pad(builder: Builder, parsed: Any, sources: Sequence[Value], _: bool) -> Value:
    (source,) = sources
    top, left, bottom, right = (a + b for a, b in zip(source.around, parsed.sides, strict=True))
    return replace(source, around=(top, left, bottom, right), fresh=False)


_RULES: dict[type, Callable[[Builder, Any, Sequence[Value], bool], Value]] = {
    Convolution: _convolution,
    Affine: _affine,
    Pool: _pool,
    Relu: _relu,
    Sum: _sum,
    Join: _join,
    Take: _take,
    Zeros: _zeros,
    Pad: _pad,
}
