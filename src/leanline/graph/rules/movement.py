"""Operators that move values and compute nothing, and concatenation, slices and splits."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from leanline.graph import operations as tables
from leanline.graph.lower import Lowering, OpaqueError, Rule
from leanline.graph.moved import ZERO, Moved
from leanline.graph.nodes import base_name, shape_of

_UNBOUNDED = 2**62  # a slice without an end stops at 2**63 - 1


def move(to: Lowering, node: Node, given: Mapping[str, Any]) -> None:
    """Anything that only moves values: apply it to the numbers of the channels."""

    def value(argument: Node, is_picture: bool) -> Any:
        if is_picture:
            return to.moved(argument)
        if not to.is_constant(argument):
            raise OpaqueError("values are moved to places that depend on the input")
        return to.constant(argument)

    def replaced(name: str, argument: Any) -> Any:
        return torch.fx.map_arg(argument, lambda one: value(one, name in _PICTURES))

    names = [argument.name for argument in node.target._schema.arguments]  # type: ignore[union-attr]
    target: Any = _TARGETS.get(base_name(node), node.target)
    try:
        found = target(
            *(replaced(name, one) for name, one in zip(names, node.args, strict=False)),
            **{name: replaced(name, one) for name, one in node.kwargs.items()},
        )
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise OpaqueError("the movement of its values could not be followed") from error
    if isinstance(found, Tensor):
        if tuple(found.shape) != shape_of(node):
            raise OpaqueError("the movement of its values could not be followed")
        to.value[node] = Moved(found)
    else:
        to.value[node] = tuple(Moved(part) for part in found)


# Arguments that hold values; others say how they move.
_PICTURES = frozenset({"self", "input", "tensors", "src", "other"})
# Views of a tensor of channel numbers, which lies in memory otherwise than the picture.
_TARGETS: Mapping[str, Any] = {
    "view": torch.ops.aten.reshape.default,
    "_unsafe_view": torch.ops.aten.reshape.default,
}


def view(to: Lowering, node: Node, given: Mapping[str, Any]) -> None:
    """A movement that may be none at all."""
    argument = given["self"]
    if isinstance(to.value.get(argument), int) and shape_of(argument) == shape_of(node):
        to.emit(node, "identity", (to.operation(argument),))
    else:
        move(to, node, given)


def pad(to: Lowering, node: Node, argument: Node, padding: tuple[int, ...], mode: str) -> None:
    """Padding of the channels (or the batch) by zeros."""
    if mode != "constant":
        raise OpaqueError("padding of the channels by other channels")
    channel = to.moved(argument)
    to.value[node] = Moved(torch.nn.functional.pad(channel, padding, value=ZERO))


def identity(to: Lowering, node: Node, given: Mapping[str, Any]) -> None:
    """Copies, casts among real numbers, dropout in eval mode."""
    argument = node.args[0] if node.args else None
    value = node.meta.get("val")
    if not isinstance(argument, Node) or not isinstance(value, Tensor):
        raise OpaqueError("a copy of no tensor")
    if not to.holds(argument):  # a constant in the type of a picture
        to.emit(node, "constant", ())
        return
    before = argument.meta["val"].dtype
    if value.dtype != before and before.is_floating_point and not value.dtype.is_floating_point:
        to.emit(node, "join", (to.operation(argument),), {}, dict(gains=(1.0,)))
        return
    if base_name(node).endswith("dropout") and bool(given.get("train", False)):
        raise OpaqueError("dropout in training mode")
    if isinstance(to.value[argument], Moved):
        to.value[node] = to.value[argument]
    else:
        to.emit(node, "identity", (to.operation(argument),))


def copy(to: Lowering, node: Node, given: Mapping[str, Any]) -> None:
    """`copy(self, src)` is src in the shape of self."""
    argument = given["src"]
    if to.holds(argument) and shape_of(argument) == shape_of(node):
        to.emit(node, "identity", (to.operation(argument),))
    elif to.holds(argument):
        to.value[node] = Moved(to.moved(argument).broadcast_to(shape_of(node)))
    else:
        to.emit(node, "constant", ())


def zeros(to: Lowering, node: Node, given: Mapping[str, Any]) -> None:
    """A buffer of zeros of the shape of a picture."""
    to.emit(node, "zeros", ())


def full(to: Lowering, node: Node, given: Mapping[str, Any]) -> None:
    """A constant of the shape of a picture."""
    value = given.get("fill_value", given.get("value"))
    to.emit(node, "zeros" if to.is_zero(value) else "constant", ())


def empty(to: Lowering, node: Node, given: Mapping[str, Any]) -> None:
    """A buffer that holds anything."""
    to.emit(node, "constant", ())


def concat(to: Lowering, node: Node, given: Mapping[str, Any]) -> None:
    """Concatenation, along the channels or not."""
    parts = given["tensors"]
    rank = len(shape_of(node))
    dim = int(given.get("dim", 0)) % max(1, rank)
    direct = [to.value.get(part) for part in parts]
    along = all(
        to.is_constant(part) or (isinstance(value, int) and to.operations[value].axis == dim)
        for part, value in zip(parts, direct, strict=True)
    )
    if along and rank >= 2:
        to.emit(node, "concat", tuple(to.operation(part, axis=dim) for part in parts), axis=dim)
    else:
        move(to, node, given)


def _bounds(extent: int, start: Any, stop: Any) -> tuple[int, int]:
    first = 0 if start is None else int(start)
    last = extent if stop is None or int(stop) > _UNBOUNDED else int(stop)
    first, last = (value + extent if value < 0 else value for value in (first, last))
    first = min(max(first, 0), extent)
    return first, min(max(last, first), extent)


def take(to: Lowering, node: Node, given: Mapping[str, Any]) -> None:
    """A slice of channels, or of a picture."""
    value = to.value.get(given["self"])
    shape = shape_of(given["self"])
    axis, step = int(given.get("dim", 0)) % len(shape), int(given.get("step", 1))
    end = given["start"] + given["length"] if "length" in given else given.get("end")
    start, stop = _bounds(shape[axis], given.get("start"), end)
    if not isinstance(value, int):
        move(to, node, given)
    elif (start, stop, step) == (0, shape[axis], 1):
        to.emit(node, "identity", (value,))
    elif axis == to.operations[value].axis:
        to.emit(node, "slice", (value,), {}, dict(start=start, stop=stop, step=step))
    elif axis == 0 or step != 1 or to.operations[value].axis != 1:
        move(to, node, given)
    else:
        padding = [0] * (2 * (len(shape) - axis))
        padding[-2:] = [-start, stop - shape[axis]]
        settings = dict(mode="constant", padding=tuple(padding), value=0.0)
        to.emit(node, "pad", (value,), {}, settings)


def split(to: Lowering, node: Node, given: Mapping[str, Any]) -> None:
    """Parts of the channels, or of another axis."""
    value, dim = to.value.get(given["self"]), int(given.get("dim", 0))
    along = isinstance(value, int) and dim % len(shape_of(given["self"])) == (
        to.operations[value].axis
    )
    if not along or not isinstance(value, int) or base_name(node) == "unbind":
        move(to, node, given)
        return
    pieces, start = [], 0
    for piece in node.meta["val"]:
        stop = start + int(piece.shape[to.operations[value].axis])
        pieces.append(to.channels(node, value, start, stop))
        start = stop
    to.value[node] = tuple(pieces)


def getitem(to: Lowering, node: Node, given: Mapping[str, Any]) -> None:
    """One of several results."""
    values = to.value.get(node.args[0]) if isinstance(node.args[0], Node) else None
    position = node.args[1]
    if not isinstance(values, tuple) or not isinstance(position, int):
        raise OpaqueError("one of several results")
    value = values[position] if position < len(values) else None
    if value is None:
        raise OpaqueError("one of several results")
    to.value[node] = value


def write(to: Lowering, node: Node, given: Mapping[str, Any]) -> None:
    """A write into some channels of a buffer: concatenation of what stays and what is written."""
    base, written = given["self"], given["src"]
    value = to.operation(base, axis=1) if to.is_constant(base) else to.value.get(base)
    shape = shape_of(base)
    axis = int(given.get("dim", 0)) % len(shape)
    start, stop = _bounds(shape[axis], given.get("start"), given.get("end"))
    whole = (start, stop, int(given.get("step", 1))) == (0, shape[axis], 1)
    if whole and to.holds(written):
        to.emit(node, "identity", (to.operation(written),))
    elif (
        axis != 1
        or int(given.get("step", 1)) != 1
        or not isinstance(value, int)
        or to.operations[value].axis != 1
    ):
        move(to, node, given)
    else:
        middle = to.operation(written, axis=1)
        parts = [to.channels(node, value, 0, start)] if start > 0 else []
        parts.append(middle)
        parts += [to.channels(node, value, stop, shape[1])] if stop < shape[1] else []
        to.emit(node, "concat", tuple(parts), axis=1)


RULES: Mapping[str, Rule] = (
    dict.fromkeys(tables.MOVEMENT, move)
    | dict.fromkeys(tables.RESHAPES, view)
    | dict.fromkeys(tables.IDENTITY, identity)
    | dict.fromkeys(tables.ZEROS | {"zero"}, zeros)
    | dict.fromkeys(tables.SPLIT, split)
    | dict.fromkeys(("full", "new_full", "full_like", "new_ones", "ones_like", "fill"), full)
    | dict.fromkeys(("new_empty", "empty_like", "rand_like", "randn_like"), empty)
    | {
        "cat": concat,
        "slice": take,
        "narrow": take,
        "slice_scatter": write,
        "copy": copy,
        operator.getitem.__name__: getitem,
    }
)
