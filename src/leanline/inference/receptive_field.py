"""How far an output pixel sees, and in which steps a picture may be cut: from a traced network."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from leanline.graph.nodes import base_name, shape_of
from leanline.graph.program import Operation, Program
from leanline.inference.footprint import bytes_per_pixel

AXES = 2
"""Height and width."""


@dataclass(frozen=True)
class ReceptiveField:
    """What cutting a network's pictures into tiles must respect.

    Attributes:
        before: pixels that an output pixel sees above it and on its left.
        after: and below it and on its right.
        alignment: tiles begin at multiples of this many pixels, in height and width.
        far: the operation for which an output pixel sees more than a neighbourhood, and why; ""
            where there is none. Then a picture must not be cut.
        fixed: the operation for which the traced network is made for one size of picture; "" where
            there is none.
        pixel_bytes: memory that computing takes at most for each pixel of the input, in bytes.
    """

    before: tuple[int, int]
    after: tuple[int, int]
    alignment: tuple[int, int]
    far: str = ""
    fixed: str = ""
    pixel_bytes: float = 0.0

    @property
    def finite(self) -> bool:
        """Whether pictures may be cut."""
        return not self.far


@dataclass(frozen=True)
class _Sight:
    """What the channels of one operation's result see, for height and width each.

    Pixel `o` of channel c sees the pixels `scale * o + low[c]` to `scale * o + high[c]` of the
    input; a channel that sees none has low = inf and high = -inf.
    """

    scale: tuple[Fraction, ...]
    low: Float[np.ndarray, "axes channels"]
    high: Float[np.ndarray, "axes channels"]


class _FarError(Exception):
    """Why an operation sees more than a neighbourhood."""


def receptive_field(program: Program) -> ReceptiveField:
    """Find how far the output pixels of a traced network see.

    Channels are followed one by one, and filters that are zero are none: a pruned network often
    sees less far than the dense one. Sizes are upper bounds.

    Args:
        program: of a network from one batch of pictures to one of the same height and width.
    """
    reader = _Reader(program)
    memory = bytes_per_pixel(program)
    for operation in program.operations:
        try:
            reader.read(operation)
        except _FarError as reason:  # what it does with pictures of other sizes is not known
            far = f"{_named(operation)}: {reason}"
            reader.far, reader.fixed = reader.far or far, reader.fixed or far
            break
    if reader.far:
        return ReceptiveField((0, 0), (0, 0), (1, 1), reader.far, reader.fixed, memory)
    ends = [reader.seen[o.index] for o in program.operations if o.kind == "output"]
    before, after = [], []
    for axis in range(AXES):
        lows = [float(one.low[axis].min(initial=np.inf)) for one in ends]
        highs = [float(one.high[axis].max(initial=-np.inf)) for one in ends]
        before.append(max(0, math.ceil(-min(0.0, *lows))))
        after.append(max(0, math.ceil(max(0.0, *highs))))
    alignment = tuple(
        math.lcm(*(one.scale[axis].numerator for one in reader.seen.values()))
        for axis in range(AXES)
    )
    return ReceptiveField(
        (before[0], before[1]),
        (after[0], after[1]),
        (alignment[0], alignment[1]),
        "",
        reader.fixed,
        memory,
    )


class _Reader:
    """Goes through a program's operations in order; one method a kind."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.seen: dict[int, _Sight] = {}
        self.fixed = ""
        self.far = ""

    def read(self, operation: Operation) -> None:
        """Note what an operation sees.

        Raises:
            _FarError: more than a neighbourhood.
        """
        if operation.kind in ("zeros", "constant"):
            self._constant(operation)
            return
        rule: Callable[[Operation], _Sight] | None = getattr(self, f"_{operation.kind}", None)
        if rule is None:
            raise _FarError("what it does is not known")
        if len(operation.shape) != 2 + AXES:
            raise _FarError(f"its result has {len(operation.shape)} axes, not {2 + AXES}")
        self.seen[operation.index] = rule(operation)

    def _constant(self, operation: Operation) -> None:
        if max(operation.size, default=1) > 1 and operation.kind == "constant":
            raise _FarError("a constant picture depends on the place")
        if max(operation.size, default=1) > 1:
            self.fixed = self.fixed or _named(operation)

    # -- kinds of operations

    def _input(self, operation: Operation) -> _Sight:
        if any(one.kind == "input" for one in self.program.operations[: operation.index]):
            raise _FarError("a second input")
        nothing = np.zeros((AXES, operation.channels))
        return _Sight((Fraction(1),) * AXES, nothing, nothing)

    def _same(self, operation: Operation) -> _Sight:
        _refuse_places(operation)
        return self._source(operation)

    _identity = _output = _unary = _gain = _batch_norm = _same

    def _shift(self, operation: Operation) -> _Sight:
        if operation.settings.get("function") == "pad":
            raise _FarError("padding by a value")
        return self._same(operation)

    def _linear(self, operation: Operation) -> _Sight:
        if operation.axis != len(operation.shape) - 1:
            raise _FarError("a linear layer on the axis of pixels")
        source = self._source(operation)
        weight = self.program.tensors[operation.parameters["weight"]]
        return _through(source, weight.ne(0).numpy(), (0, 0), (0, 0))

    def _convolution(self, operation: Operation) -> _Sight:
        settings, source = operation.settings, self._source(operation)
        weight = self.program.tensors[operation.parameters["weight"]]
        present = _present(weight, settings["groups"], settings["transposed"])
        low, high, scale = [], [], []
        sides = zip(
            weight.shape[2:],
            settings["stride"],
            settings["padding"],
            settings["dilation"],
            source.scale,
            strict=True,
        )
        for kernel, stride, padding, dilation, step in sides:
            extent = dilation * (kernel - 1)
            if settings["transposed"]:  # pixel o reads (o + padding - dilation * tap) / stride
                low.append(step * Fraction(padding - extent, stride))
                high.append(step * Fraction(padding, stride))
                scale.append(step / stride)
            else:  # pixel o reads o * stride - padding + dilation * tap
                low.append(-step * padding)
                high.append(step * (extent - padding))
                scale.append(step * stride)
        moved = _through(source, present, low, high)
        return replace(moved, scale=tuple(scale))

    def _pool(self, operation: Operation) -> _Sight:
        settings, source = operation.settings, self._source(operation)
        if "kernel_size" not in settings:
            raise _FarError("it looks at the whole picture")
        kernel, stride, padding, dilation = (
            _pair(settings.get(name), default)
            for name, default in (
                ("kernel_size", 1),
                ("stride", 1),
                ("padding", 0),
                ("dilation", 1),
            )
        )
        steps = zip(source.scale, kernel, stride, padding, dilation, strict=True)
        low, high, scale = [], [], []
        for step, k, s, p, d in steps:
            low.append(-step * p)
            high.append(step * (d * (k - 1) - p))
            scale.append(step * s)
        return replace(_wider(source, low, high), scale=tuple(scale))

    def _resample(self, operation: Operation) -> _Sight:
        settings, source = operation.settings, self._source(operation)
        name = str(settings["function"])
        if settings.get("align_corners"):
            self._everywhere(operation, "align_corners=True stretches by the size of the picture")
        reach = _REACH.get(name.removeprefix("_").partition("2d")[0])
        if reach is None or name.endswith("_aa"):
            raise _FarError("resampling of this kind is not followed")
        before = self.program.operations[operation.inputs[0]].size
        if settings.get("output_size") is not None or settings.get("size") is not None:
            self.fixed = self.fixed or _named(operation)
        low, high, scale = [], [], []
        for step, old, new in zip(source.scale, before, operation.size, strict=True):
            if new % old and old % new:
                raise _FarError(f"it resamples {old} pixels to {new}, which is no whole factor")
            ratio = Fraction(old, new)
            middle = (ratio - 1) / 2  # of an output pixel, in pixels of the source
            low.append(step * (middle - reach))
            high.append(step * (middle + reach))
            scale.append(step * ratio)
        return replace(_wider(source, low, high), scale=tuple(scale))

    def _pad(self, operation: Operation) -> _Sight:
        settings, source = operation.settings, self._source(operation)
        if operation.axis != 1:
            raise _FarError("padding with the channels on the last axis")
        sides = [*settings["padding"], 0, 0, 0, 0][: 2 * AXES]
        shift = [-step * sides[2 * (AXES - 1 - axis)] for axis, step in enumerate(source.scale)]
        if settings["mode"] == "circular":
            raise _FarError("it wraps the picture around")
        if settings["mode"] == "reflect":  # what is mirrored lies on the other side
            most = [step * max(map(abs, sides)) for step in source.scale]
            return _wider(source, [min(s, -m) for s, m in zip(shift, most, strict=True)], most)
        return _wider(source, shift, shift)

    def _concat(self, operation: Operation) -> _Sight:
        sources = self._sources(operation)
        _check_scales(sources)
        return _Sight(
            sources[0].scale,
            np.concatenate([one.low for one in sources], axis=1),
            np.concatenate([one.high for one in sources], axis=1),
        )

    def _slice(self, operation: Operation) -> _Sight:
        settings, source = operation.settings, self._source(operation)
        part = slice(settings["start"], settings["stop"], settings["step"])
        return replace(source, low=source.low[:, part], high=source.high[:, part])

    def _mix(self, operation: Operation) -> _Sight:
        sources = self._sources(operation)
        _check_scales(sources)
        sizes = {self.program.operations[index].size for index in operation.inputs}
        dims = _reduced_axes(operation)
        if sizes != {operation.size} or dims & _pixel_axes(operation):
            raise _FarError("it moves or sums up pixels")
        low = np.concatenate([one.low for one in sources], axis=1)
        high = np.concatenate([one.high for one in sources], axis=1)
        start, stop = operation.settings["pairs"]
        shape = AXES, operation.channels
        lows, highs = np.full(shape, np.inf), np.full(shape, -np.inf)
        for axis in range(AXES):
            np.minimum.at(lows[axis], stop, low[axis, start])
            np.maximum.at(highs[axis], stop, high[axis, start])
        return _Sight(sources[0].scale, lows, highs)

    def _together(self, operation: Operation) -> _Sight:
        _refuse_places(operation)
        sources = self._sources(operation)
        _check_scales(sources)
        sizes = {self.program.operations[index].size for index in operation.inputs}
        if sizes - {operation.size}:
            raise _FarError("it combines pictures of several sizes")
        shape = AXES, operation.channels
        lows = [np.broadcast_to(one.low, shape) for one in sources]
        highs = [np.broadcast_to(one.high, shape) for one in sources]
        return _Sight(sources[0].scale, np.minimum.reduce(lows), np.maximum.reduce(highs))

    _add = _join = _multiply = _divide = _together

    def _norm(self, operation: Operation) -> _Sight:
        self._everywhere(operation, "it normalises by the statistics of the whole picture")
        return self._same(operation)

    def _opaque(self, operation: Operation) -> _Sight:
        raise _FarError("what it does is not known")

    def _everywhere(self, operation: Operation, reason: str) -> None:
        """Note an operation that sees the whole picture, of whatever size."""
        self.far = self.far or f"{_named(operation)}: {reason}"

    # -- sources

    def _source(self, operation: Operation) -> _Sight:
        return self._sources(operation)[0]

    def _sources(self, operation: Operation) -> list[_Sight]:
        found = [self.seen.get(index) for index in operation.inputs]
        known = [one for one in found if one is not None]
        if not known:
            raise _FarError("it does not depend on the picture")
        nothing = known[0]
        return [
            self._nothing(index, nothing.scale) if one is None else one
            for index, one in zip(operation.inputs, found, strict=True)
        ]

    def _nothing(self, index: int, scale: tuple[Fraction, ...]) -> _Sight:
        shape = AXES, self.program.operations[index].channels
        return _Sight(scale, np.full(shape, np.inf), np.full(shape, -np.inf))


# How many pixels away from its place in the source an output pixel reads.
_REACH: Mapping[str, int] = {
    "upsample_nearest": 1,
    "upsample_nearest_exact": 1,
    "upsample_bilinear": 1,
    "upsample_bicubic": 2,
}


def _named(operation: Operation) -> str:
    place = f" in {operation.module!r}" if operation.module else ""
    return f"{operation.name!r}{place}"


def _pair(value: object, default: int) -> tuple[int, ...]:
    if value is None or value == ():
        return (default,) * AXES
    if isinstance(value, int):
        return (value,) * AXES
    assert isinstance(value, Sequence)
    return tuple(int(n) for n in value) if len(value) == AXES else (int(value[0]),) * AXES


def _present(weight: Tensor, groups: int, transposed: bool) -> np.ndarray:
    """Which input channel each output channel reads, [out, in], of all groups."""
    filters = weight.flatten(2).ne(0).any(2).cpu()
    if groups == 1:
        return (filters.T if transposed else filters).numpy()
    parts = [part.T if transposed else part for part in filters.chunk(groups)]
    rows, columns = parts[0].shape
    found = np.zeros((groups * rows, groups * columns), bool)
    for group, part in enumerate(parts):
        found[group * rows :, group * columns :][:rows, :columns] = part.numpy()
    return found


def _through(
    source: _Sight,
    present: np.ndarray,
    low: Sequence[Fraction | int],
    high: Sequence[Fraction | int],
) -> _Sight:
    """What channels see that read others through filters; `low`, `high`: what a filter adds."""
    wider = _wider(source, low, high)
    lows = [np.where(present, side, np.inf).min(1, initial=np.inf) for side in wider.low]
    highs = [np.where(present, side, -np.inf).max(1, initial=-np.inf) for side in wider.high]
    return replace(source, low=np.stack(lows), high=np.stack(highs))


def _wider(source: _Sight, low: Sequence[Fraction | int], high: Sequence[Fraction | int]) -> _Sight:
    add = [np.array([[float(one)] for one in side]) for side in (low, high)]
    return replace(source, low=source.low + add[0], high=source.high + add[1])


def _check_scales(sources: Sequence[_Sight]) -> None:
    if any(one.scale != sources[0].scale for one in sources):
        raise _FarError("it combines pictures of several scales")


def _pixel_axes(operation: Operation) -> set[int]:
    return set(range(len(operation.shape))) - {0, operation.axis}


def _reduced_axes(operation: Operation) -> set[int]:
    """Axes that a reduction sums over; none for what only moves."""
    node = operation.node
    if "function" not in operation.settings or node is None:
        return set()
    dims: Any = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
    rank = len(operation.shape)
    if dims is None or dims == []:
        return set(range(rank))
    return {int(one) % rank for one in (dims if isinstance(dims, list | tuple) else [dims])}


def _refuse_places(operation: Operation) -> None:
    """Refuse an elementwise operation with a constant that differs from pixel to pixel."""
    node = operation.node
    if node is None or operation.kind in ("output", "batch_norm"):
        return
    pictures = [other for other in node.all_input_nodes if _differs(shape_of(other), operation)]
    if len(pictures) > len(operation.inputs):
        raise _FarError(f"{base_name(node)} with a constant that depends on the place")


def _differs(shape: tuple[int, ...], operation: Operation) -> bool:
    """Whether a tensor of this shape, broadcast to the result, has more than one pixel."""
    skipped = len(operation.shape) - len(shape)
    return any(shape[axis - skipped] > 1 for axis in _pixel_axes(operation) if axis >= skipped)
