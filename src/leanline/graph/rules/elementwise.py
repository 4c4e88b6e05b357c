"""Operators on every value by itself: activations, sums, products, gates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from leanline.graph import operations as tables
from leanline.graph.lower import Lowering, OpaqueError, Rule
from leanline.graph.nodes import base_name, plain, shape_of


def unary(to: Lowering, node: Node, given: Mapping[str, Any]) -> None:
    """A function of each value; what it is at zero decides what kind it is."""
    if len(node.all_input_nodes) != 1:
        join(to, node, given)  # a bound that is a tensor
        return
    name = base_name(node)
    source = to.operation(node.all_input_nodes[0])
    if to.operations[source].shape != shape_of(node):
        raise OpaqueError("a function that changes the shape")
    lipschitz = tables.UNARY[name](given) if name in tables.UNARY else 1.0
    exponent = given.get("exponent", 1)
    if isinstance(exponent, Node) or exponent <= 0:
        lipschitz = None
    if lipschitz is None:
        read = (node.all_input_nodes[0],)
        to.emit(node, "shift", (source,), {}, dict(function=name, gain=1.0, arguments=read))
    else:
        settings = dict(function=name, lipschitz=lipschitz, **plain(given))
        to.emit(node, "unary", (source,), {}, settings)


def shift(to: Lowering, node: Node, given: Mapping[str, Any]) -> None:
    """A function that is not zero at zero."""
    if len(node.all_input_nodes) != 1:
        join(to, node, given)
        return
    argument, name = node.all_input_nodes[0], base_name(node)
    settings = dict(function=name, gain=tables.SHIFT[name], arguments=(argument,))
    to.emit(node, "shift", (to.operation(argument),), {}, settings)


def softmax(to: Lowering, node: Node, given: Mapping[str, Any]) -> None:
    """Softmax of each channel by itself; over the channels it is frozen."""
    source, rank = to.operation(given["self"]), len(shape_of(node))
    if rank < 2 or int(given["dim"]) % rank == to.operations[source].axis:
        raise OpaqueError("a softmax over the channels makes each depend on all")
    settings = dict(function=base_name(node), gain=1.0, arguments=(given["self"],))
    to.emit(node, "shift", (source,), {}, settings)


def prelu(to: Lowering, node: Node, given: Mapping[str, Any]) -> None:
    """A leaky ReLU with slopes that are learned."""
    weight = to.tensor(given["weight"], node, "slope")
    source = to.operation(given["self"], axis=1)
    if weight is None or weight in to.computed:
        raise OpaqueError("its slope is computed")
    to.emit(node, "unary", (source,), {"slope": weight}, dict(function="prelu", lipschitz=1.0))


def add(to: Lowering, node: Node, given: Mapping[str, Any]) -> None:
    """Sum or difference of two pictures, or of one and a constant."""
    name = base_name(node)
    first, second = given["self"], given["other"]
    alpha = given.get("alpha", 1)
    if isinstance(alpha, Node):
        raise OpaqueError("a factor that depends on the input")
    gains = (1.0, float(alpha) * (-1.0 if name == "sub" else 1.0))
    if name == "rsub":
        gains = (-float(alpha), 1.0)
    if to.holds(first) and to.holds(second):
        indices = to.aligned(node, (first, second))
        if name != "rsub" and shape_of(first) == shape_of(second):
            to.emit(node, "add", tuple(indices), {}, dict(alpha=gains[1]))
        else:
            known = dict(gains=tuple(map(abs, gains)), arguments=(first, second))
            to.emit(node, "join", tuple(indices), {}, known)
        return
    own, other = (first, second) if to.holds(first) else (second, first)
    (source,) = to.aligned(node, (own,))
    gain = abs(gains[0] if own is first else gains[1])
    kind = "gain" if to.is_zero(other) else "shift"
    to.emit(node, kind, (source,), {}, dict(function=name, gain=gain, arguments=(own,)))


def multiply(to: Lowering, node: Node, given: Mapping[str, Any]) -> None:
    """A gate, or multiplication and division by a constant."""
    name = base_name(node)
    first, second = given["self"], given["other"]
    if given.get("rounding_mode") is not None:
        if to.holds(second):
            raise OpaqueError("a quotient of pictures that is rounded")
        join(to, node, given)
        return
    if to.holds(first) and to.holds(second):
        if first is second:
            kind = "join" if name == "mul" else "shift"  # x / x is 1, or nothing at all
            square = dict(gains=(1.0,), gain=1.0, arguments=(first,))
            to.emit(node, kind, (to.operation(first),), {}, square)
        else:
            indices = tuple(to.aligned(node, (first, second)))
            kind = "multiply" if name == "mul" else "divide"
            gate = dict(function=name, arguments=(first, second))
            to.emit(node, kind, indices, {}, gate)
        return
    own, other = (first, second) if to.holds(first) else (second, first)
    constant = to.constant(other)
    if name == "div" and own is second:  # a constant divided by a picture
        settings: dict[str, Any] = dict(function=name, gain=1.0, arguments=(own,))
        to.emit(node, "shift", tuple(to.aligned(node, (own,))), {}, settings)
        return
    if isinstance(constant, bool):
        constant = int(constant)
    if isinstance(constant, int | float) and to.operations[to.operation(own)].shape == shape_of(
        node
    ):
        if name == "div" and constant == 0:
            raise OpaqueError("a division by 0")
        factor = float(constant) if name == "mul" else 1.0 / float(constant)
        settings = dict(function="scale", factor=factor, lipschitz=abs(factor))
        to.emit(node, "unary", (to.operation(own),), {}, settings)
        return
    (source,) = to.aligned(node, (own,))
    gain = _gain(to, node, source, constant, name)
    to.emit(node, "gain", (source,), {}, dict(function=name, gain=gain, arguments=(own,)))


def _gain(to: Lowering, node: Node, source: int, constant: Any, name: str) -> np.ndarray | float:
    """Largest factor of each channel."""
    value = torch.as_tensor(constant).detach().abs().double().cpu()
    value = value if name == "mul" else value.reciprocal()
    if not bool(torch.isfinite(value).all()):
        raise OpaqueError("a factor that is not finite")
    shape, axis = shape_of(node), to.operations[source].axis
    if len(shape) < 2 or value.ndim == 0:
        return float(value.max())
    value = value.reshape((1,) * (len(shape) - value.ndim) + tuple(value.shape))
    largest = value.amax([place for place in range(len(shape)) if place != axis])
    return largest.broadcast_to((shape[axis],)).numpy().copy()


# Arguments that multiply others, or choose: they add no value of their own.
_NO_VALUES = {
    "where": ("condition",),
    "masked_fill": ("mask",),
    "addcmul": ("tensor1", "tensor2", "value"),
    "lerp": ("weight",),
}


def join(to: Lowering, node: Node, given: Mapping[str, Any]) -> None:
    """Several values into one, zero where all of them are."""
    name = base_name(node)
    if name == "pow":
        raise OpaqueError("a power that is a tensor")
    pictures = [argument for argument in node.all_input_nodes if to.holds(argument)]
    free = _NO_VALUES.get(name, ())
    factors = [given[key] for key in free if key.startswith("tensor")]
    values = [value for key, value in given.items() if key not in free and value is not None]
    values = [value for value in values if isinstance(value, Node | int | float)]
    fills = [value for value in values if not to.holds(value) and not to.is_zero(value)]
    if factors and not any(to.holds(factor) for factor in factors):
        fills.extend(factors)
    indices = tuple(to.aligned(node, pictures))
    if not fills and name not in tables.COMPARISON:
        settings: dict[str, Any] = dict(function=name, arguments=tuple(pictures))
        settings["gains"] = (1.0,) * len(indices)
        to.emit(node, "join", indices, {}, settings)
    elif len(indices) == 1:
        settings = dict(function=name, gain=1.0, arguments=tuple(pictures))
        to.emit(node, "shift", indices, {}, settings)
    else:
        raise OpaqueError("values of several pictures and a constant")


RULES: Mapping[str, Rule] = (
    dict.fromkeys(("softmax", "_softmax", "log_softmax", "_log_softmax"), softmax)
    | dict.fromkeys((*tables.UNARY, *tables.UNBOUNDED), unary)
    | dict.fromkeys(tables.SHIFT, shift)
    | dict.fromkeys(tables.JOIN | tables.COMPARISON, join)
    | dict.fromkeys(("prelu", "_prelu_kernel"), prelu)
    | dict.fromkeys(("add", "sub", "rsub"), add)
    | dict.fromkeys(("mul", "div"), multiply)
)
