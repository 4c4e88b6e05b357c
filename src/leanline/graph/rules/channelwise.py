"""Operators that treat every channel by itself: pooling, resampling, padding, reductions."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch.fx import Node

from leanline.graph import operations as tables
from leanline.graph.lower import Lowering, OpaqueError, Rule
from leanline.graph.nodes import base_name, plain, shape_of
from leanline.graph.rules import elementwise, movement

_AXES = re.compile(r"(\d)d")


def pool(to: Lowering, node: Node, given: Mapping[str, Any]) -> None:
    """Pooling and resampling of the axes behind the channels."""
    argument = given.get("self", given.get("input"))
    shape, before = shape_of(node), shape_of(argument)
    if len(shape) != len(before) or len(shape) < 3 or shape[:2] != before[:2]:
        raise OpaqueError("a picture without a batch axis")
    name = base_name(node)
    if len(shape) != 2 + int(_AXES.search(name).group(1)):  # type: ignore[union-attr]
        raise OpaqueError("a picture without a batch axis")
    settings = dict(function=name, **plain(given))
    if settings.get("stride") == ():
        settings["stride"] = settings["kernel_size"]
    kind = "resample" if name in tables.RESAMPLE else "pool"
    to.emit_first(node, kind, (to.operation(argument, axis=1),), {}, settings)


def pad(to: Lowering, node: Node, given: Mapping[str, Any]) -> None:
    """Padding, or cropping, of the axes that are not the channels'."""
    name, argument = base_name(node), given["self"]
    padding = tuple(given.get("pad", given.get("padding", ())))
    if not all(isinstance(side, int) for side in padding):
        raise OpaqueError("padding that depends on the input")
    mode = given.get("mode", "constant")
    for prefix, own in (("reflection", "reflect"), ("replication", "replicate")):
        mode = own if name.startswith(prefix) else mode
    value = to.constant(given.get("value")) or 0
    last = len(shape_of(argument)) - 1
    padded = {last - place // 2 for place, side in enumerate(padding) if side != 0}
    source = to.operation(argument)
    axis = to.operations[source].axis
    if mode != "constant" or value == 0:
        if padded & {0, axis}:
            movement.pad(to, node, argument, padding, mode)
        elif axis == 1:
            to.emit(node, "pad", (source,), {}, dict(mode=mode, padding=padding, value=0.0))
        else:
            to.emit(node, "join", (source,), {}, dict(gains=(1.0,)))
    elif padded & {0, axis}:
        raise OpaqueError("padding of the channels by a value that is not 0")
    else:
        to.emit(node, "shift", (source,), {}, dict(function="pad", gain=1.0))


def reduce(to: Lowering, node: Node, given: Mapping[str, Any]) -> None:
    """Sums, means, maxima over some axes; over the channels, the result comes from all of them."""
    name, argument = base_name(node), given["self"]
    if "other" in given:  # the larger of two pictures
        elementwise.join(to, node, given)
        return
    before, shape, keep = shape_of(argument), shape_of(node), bool(given.get("keepdim"))
    dim = given.get("dim", given.get("axis"))
    if dim is None or dim == ():
        dim = []
    axes = [int(one) % max(1, len(before)) for one in ([dim] if isinstance(dim, int) else dim)]
    axes = sorted(axes or range(len(before)))
    source = to.operation(argument)
    operation = to.operations[source]
    pixels = math.prod(before[axis] for axis in axes if axis != operation.axis)
    gain = tables.REDUCTION[name](pixels)
    if name == "mean" and operation.axis in axes and len(before) > 1:
        gain /= before[operation.axis]  # of one channel among them
    after = operation.axis if keep else operation.axis - sum(a < operation.axis for a in axes)
    if operation.axis not in axes and len(shape) >= 2 and after > 0:
        settings = dict(function=name, gain=gain, dim=tuple(axes), keepdim=keep)
        to.emit_first(node, "pool", (source,), {}, settings, after)
        return
    after = operation.axis if keep and len(shape) >= 2 else 1
    count = shape[after] if len(shape) >= 2 else 1
    channels = np.arange(operation.channels)
    pairs = np.stack([np.tile(channels, count), np.repeat(np.arange(count), channels.size)])
    settings = dict(function=name, pairs=pairs, gain=gain, broadcast=False)
    to.emit_first(node, "mix", (source,), {}, settings, after)


RULES: Mapping[str, Rule] = (
    dict.fromkeys(tables.POOL | tables.RESAMPLE, pool)
    | dict.fromkeys(tables.PAD, pad)
    | dict.fromkeys(tables.REDUCTION, reduce)
)
