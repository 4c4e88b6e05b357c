"""How each kind of ATen operator is lowered. A rule returns False to leave it opaque."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.fx import Node

from leanline.graph import operations as tables
from leanline.graph.lower import Lowering, Rule, base_name, plain, shape_of

_UNBOUNDED = 2**62  # a slice without an end stops at 2**63 - 1


def find(name: str) -> Rule | None:
    """The rule of an operator, None if no table has it."""
    for names, rule in _TABLE:
        if name in names:
            return rule
    return None


def _spatial(value: Any, axes: int) -> tuple[int, ...]:
    items = [int(value)] if isinstance(value, int) else [int(item) for item in value]
    return tuple(items * axes if len(items) == 1 else items)


def _convolution(to: Lowering, node: Node, given: Mapping[str, Any]) -> bool:
    source, weight = to.source(given["input"]), to.tensor(given["weight"])
    bias = to.tensor(given.get("bias"))
    if source is None or weight is None or (given.get("bias") is not None and bias is None):
        return False
    kernel = tuple(given["weight"].meta["val"].shape[2:])
    axes = len(kernel)
    if len(to.shape(source)) != axes + 2:
        return False  # without a batch axis
    name = base_name(node)
    transposed = bool(given.get("transposed", name.startswith("conv_transpose")))
    stride, dilation = (_spatial(given[key], axes) for key in ("stride", "dilation"))
    padding = given["padding"]
    if isinstance(padding, str):
        total = [
            d * (k - 1) if padding == "same" else 0 for k, d in zip(kernel, dilation, strict=True)
        ]
        if any(extent % 2 for extent in total):  # PyTorch puts the odd pixel at the end
            sides = [(extent // 2, extent - extent // 2) for extent in total]
            shape = list(to.shape(source))
            for axis, extent in enumerate(total):
                shape[2 + axis] += extent
            flat = tuple(side for pair in reversed(sides) for side in pair)
            source = to.step(
                node, "pad", source, dict(mode="constant", padding=flat, value=0.0), shape
            )
            total = [0] * axes
        padding = [extent // 2 for extent in total]
    parameters = {"weight": weight} | ({"bias": bias} if bias is not None else {})
    settings = dict(
        stride=stride,
        padding=_spatial(padding, axes),
        dilation=dilation,
        output_padding=_spatial(given.get("output_padding", 0), axes),
        groups=int(given["groups"]),
        transposed=transposed,
    )
    return to.emit(node, "convolution", (source,), parameters, settings)


def _linear(to: Lowering, node: Node, given: Mapping[str, Any]) -> bool:
    source, weight, bias = (
        to.source(given["input"]),
        to.tensor(given["weight"]),
        to.tensor(given.get("bias")),
    )
    if source is None or weight is None or len(to.shape(source)) != 2:
        return False
    if given.get("bias") is not None and bias is None:
        return False
    parameters = {"weight": weight} | ({"bias": bias} if bias is not None else {})
    return to.emit(node, "linear", (source,), parameters)


def _batch_norm(to: Lowering, node: Node, given: Mapping[str, Any]) -> bool:
    source = to.source(given["input"])
    roles = {
        role: to.tensor(given.get(role))
        for role in ("weight", "bias", "running_mean", "running_var")
    }
    if source is None or bool(given.get("training", False)) or len(to.shape(source)) < 2:
        return False
    if roles["running_mean"] is None or roles["running_var"] is None:
        return False
    if any(given.get(role) is not None and name is None for role, name in roles.items()):
        return False
    parameters = {role: name for role, name in roles.items() if name is not None}
    epsilon = float(given.get("eps", given.get("epsilon", 1e-5)))
    return to.emit_first(node, "batch_norm", (source,), parameters, dict(eps=epsilon))


def _unary(to: Lowering, node: Node, given: Mapping[str, Any]) -> bool:
    source = to.source(given.get("self"))
    name = base_name(node)
    if source is None or to.shape(source) != shape_of(node):
        return False
    if len(node.all_input_nodes) != 1:
        return False  # a bound that is a tensor
    lipschitz = tables.UNARY[name](given)
    if lipschitz is None:
        return False
    return to.emit(
        node, "unary", (source,), {}, dict(function=name, lipschitz=lipschitz, **plain(given))
    )


def _prelu(to: Lowering, node: Node, given: Mapping[str, Any]) -> bool:
    source, weight = to.source(given["self"]), to.tensor(given["weight"])
    if source is None or weight is None:
        return False
    return to.emit(
        node, "unary", (source,), {"slope": weight}, dict(function="prelu", lipschitz=1.0)
    )


def _scale(to: Lowering, node: Node, given: Mapping[str, Any]) -> bool:
    """Multiplication or division by a number."""
    source, other = to.source(given.get("self")), given.get("other")
    if source is None or isinstance(other, bool) or not isinstance(other, int | float):
        return False
    if given.get("rounding_mode") is not None or (base_name(node) == "div" and other == 0):
        return False
    factor = float(other) if base_name(node) == "mul" else 1.0 / float(other)
    return to.emit(
        node, "unary", (source,), {}, dict(function="scale", factor=factor, lipschitz=abs(factor))
    )


def _add(to: Lowering, node: Node, given: Mapping[str, Any]) -> bool:
    left, right = to.source(given.get("self")), to.source(given.get("other"))
    if left is None or right is None or to.shape(left) != to.shape(right):
        return False
    alpha = float(given.get("alpha", 1)) * (-1.0 if base_name(node) == "sub" else 1.0)
    return to.emit(node, "add", (left, right), {}, dict(alpha=alpha))


def _pool(to: Lowering, node: Node, given: Mapping[str, Any]) -> bool:
    source = to.source(given.get("self", given.get("input")))
    shape = shape_of(node)
    if source is None or len(shape) != len(to.shape(source)) or shape[:2] != to.shape(source)[:2]:
        return False
    if any(user.args[1:] == (1,) and user.users for user in node.users):
        return False  # the places of the maxima are read, and they are no channels
    name = base_name(node)
    settings = dict(function=name, **plain(given))
    if settings.get("stride") == ():
        settings["stride"] = settings["kernel_size"]
    kind = "resample" if name in tables.RESAMPLE else "pool"
    return to.emit_first(node, kind, (source,), {}, settings)


def _mean(to: Lowering, node: Node, given: Mapping[str, Any]) -> bool:
    """A mean over all spatial axes that keeps them is global average pooling."""
    source, axes = to.source(given.get("self")), given.get("dim")
    if source is None or not given.get("keepdim") or not axes or given.get("dtype") is not None:
        return False
    rank = len(to.shape(source))
    if sorted(int(axis) % rank for axis in axes) != list(range(2, rank)):
        return False
    return to.emit(node, "pool", (source,), {}, dict(function="mean"))


def _pad(to: Lowering, node: Node, given: Mapping[str, Any]) -> bool:
    source, name = to.source(given.get("self")), base_name(node)
    padding = tuple(given.get("pad", given.get("padding", ())))
    if source is None or not all(isinstance(side, int) for side in padding):
        return False
    if len(padding) > 2 * (len(to.shape(source)) - 2):
        return False  # the channels or the batch are padded
    mode = given.get("mode", "constant")
    for prefix, own in (("reflection", "reflect"), ("replication", "replicate")):
        mode = own if name.startswith(prefix) else mode
    if mode == "constant" and (given.get("value") or 0) != 0:
        return False
    return to.emit(node, "pad", (source,), {}, dict(mode=mode, padding=padding, value=0.0))


def _concat(to: Lowering, node: Node, given: Mapping[str, Any]) -> bool:
    parts = [to.source(part) for part in given.get("tensors", ())]
    rank = len(shape_of(node))
    if None in parts or rank < 2 or int(given.get("dim", 0)) % rank != 1:
        return False
    return to.emit(node, "concat", tuple(part for part in parts if part is not None))


def _bounds(extent: int, start: Any, stop: Any) -> tuple[int, int]:
    first = 0 if start is None else int(start)
    last = extent if stop is None or int(stop) > _UNBOUNDED else int(stop)
    first, last = (value + extent if value < 0 else value for value in (first, last))
    first = min(max(first, 0), extent)
    return first, min(max(last, first), extent)


def _slice(to: Lowering, node: Node, given: Mapping[str, Any]) -> bool:
    source = to.source(given.get("self"))
    if source is None:
        return False
    shape = to.shape(source)
    axis, step = int(given.get("dim", 0)) % len(shape), int(given.get("step", 1))
    start, stop = _bounds(shape[axis], given.get("start"), given.get("end"))
    if (start, stop, step) == (0, shape[axis], 1):
        return to.emit(node, "identity", (source,))
    if axis == 1:
        return to.emit(node, "slice", (source,), {}, dict(start=start, stop=stop, step=step))
    if axis == 0 or step != 1:
        return False
    padding = [0] * (2 * (len(shape) - axis))
    padding[-2:] = [-start, stop - shape[axis]]
    return to.emit(
        node, "pad", (source,), {}, dict(mode="constant", padding=tuple(padding), value=0.0)
    )


def _split(to: Lowering, node: Node, given: Mapping[str, Any]) -> bool:
    source = to.source(given.get("self"))
    if source is None or int(given.get("dim", 0)) % len(to.shape(source)) != 1:
        return False
    pieces, start = [], 0
    for piece in node.meta["val"]:
        stop = start + int(piece.shape[1])
        pieces.append(to.channels(node, source, start, stop))
        start = stop
    to.value[node] = tuple(pieces)
    return True


def _getitem(to: Lowering, node: Node, given: Mapping[str, Any]) -> bool:
    values = to.value.get(node.args[0]) if isinstance(node.args[0], Node) else None
    position = node.args[1]
    if not isinstance(values, tuple) or not isinstance(position, int):
        return False
    index = values[position] if position < len(values) else None
    if index is None:
        return False
    to.value[node] = index
    return True


def _slice_scatter(to: Lowering, node: Node, given: Mapping[str, Any]) -> bool:
    """A write into some channels of a buffer: concatenation of what stays and what is written."""
    base, written = to.source(given.get("self")), to.source(given.get("src"))
    if base is None or written is None:
        return False
    shape = to.shape(base)
    axis = int(given.get("dim", 0)) % len(shape)
    start, stop = _bounds(shape[axis], given.get("start"), given.get("end"))
    if int(given.get("step", 1)) != 1:
        return False
    if (start, stop) == (0, shape[axis]):
        return to.emit(node, "identity", (written,))
    if axis != 1:
        return False
    parts = [to.channels(node, base, 0, start)] if start > 0 else []
    parts.append(written)
    parts += [to.channels(node, base, stop, shape[1])] if stop < shape[1] else []
    return to.emit(node, "concat", tuple(parts))


def _identity(to: Lowering, node: Node, given: Mapping[str, Any]) -> bool:
    first = node.args[0] if node.args else None
    source, value = to.source(first), node.meta.get("val")
    if source is None or not isinstance(value, Tensor) or to.shape(source) != shape_of(node):
        return False
    assert isinstance(first, Node)
    before = first.meta["val"].dtype
    if value.dtype != before and not (value.dtype.is_floating_point and before.is_floating_point):
        return False
    if base_name(node).endswith("dropout") and bool(given.get("train", False)):
        return False
    return to.emit(node, "identity", (source,))


def _copy(to: Lowering, node: Node, given: Mapping[str, Any]) -> bool:
    """`copy(self, src)` is src in the shape of self."""
    source = to.source(given.get("src"))
    if source is None or to.shape(source) != shape_of(node):
        return False
    return to.emit(node, "identity", (source,))


def _zeros(to: Lowering, node: Node, given: Mapping[str, Any]) -> bool:
    return to.emit(node, "zeros", ())


def _full(to: Lowering, node: Node, given: Mapping[str, Any]) -> bool:
    fill = given.get("fill_value")
    return fill == 0 and not isinstance(fill, Node) and to.emit(node, "zeros", ())


_TABLE: Sequence[tuple[Any, Rule]] = (
    (frozenset(tables.CONVOLUTION), _convolution),
    (frozenset(tables.UNARY), _unary),
    (tables.BATCH_NORM, _batch_norm),
    (tables.POOL | tables.RESAMPLE, _pool),
    (tables.PAD, _pad),
    (tables.IDENTITY, _identity),
    (tables.ZEROS, _zeros),
    (tables.SPLIT, _split),
    ({"linear"}, _linear),
    ({"add", "sub"}, _add),
    ({"mul", "div"}, _scale),
    ({"cat"}, _concat),
    ({"getitem"}, _getitem),
    ({"slice"}, _slice),
    ({"slice_scatter"}, _slice_scatter),
    ({"copy"}, _copy),
    ({"prelu", "_prelu_kernel"}, _prelu),
    ({"mean"}, _mean),
    ({"full", "new_full", "full_like"}, _full),
)
