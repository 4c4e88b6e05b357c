"""Layers with weights: convolutions, linear layers, batch norms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.fx
from torch import Tensor
from torch.fx import Node

from leanline.graph import operations as tables
from leanline.graph.lower import Lowering, OpaqueError, Rule
from leanline.graph.nodes import base_name, shape_of, uncast


def _spatial(value: Any, axes: int) -> tuple[int, ...]:
    items = [int(value)] if isinstance(value, int) else [int(item) for item in value]
    return tuple(items * axes if len(items) == 1 else items)


def _parameters(to: Lowering, node: Node, given: Mapping[str, Any], *roles: str) -> dict[str, str]:
    names = {role: to.tensor(given.get(role), node, role) for role in roles}
    return {role: name for role, name in names.items() if name is not None}


def convolution(to: Lowering, node: Node, given: Mapping[str, Any]) -> None:
    """A convolution of any kind; its own padding that is not even becomes an operation."""
    parameters = _parameters(to, node, given, "weight", "bias")
    kernel = shape_of(given["weight"])[2:]
    axes = len(kernel)
    if len(shape_of(given["input"])) != axes + 2:
        raise OpaqueError("a convolution of a picture without a batch axis (add one: x[None])")
    source = to.operation(given["input"], axis=1)
    transposed = bool(given.get("transposed", base_name(node).startswith("conv_transpose")))
    stride, dilation = (_spatial(given[key], axes) for key in ("stride", "dilation"))
    padding = given["padding"]
    if isinstance(padding, str):
        total = [
            d * (k - 1) if padding == "same" else 0 for k, d in zip(kernel, dilation, strict=True)
        ]
        if any(extent % 2 for extent in total):  # PyTorch puts the odd pixel at the end
            sides = [(extent // 2, extent - extent // 2) for extent in total]
            shape = list(to.operations[source].shape)
            for axis, extent in enumerate(total):
                shape[2 + axis] += extent
            flat = tuple(side for pair in reversed(sides) for side in pair)
            source = to.step(
                node, "pad", source, dict(mode="constant", padding=flat, value=0.0), shape
            )
            total = [0] * axes
        padding = [extent // 2 for extent in total]
    settings = dict(
        stride=stride,
        padding=_spatial(padding, axes),
        dilation=dilation,
        output_padding=_spatial(given.get("output_padding", 0), axes),
        groups=int(given["groups"]),
        transposed=transposed,
        cast=uncast(given["weight"]) is not given["weight"],
    )
    to.emit(node, "convolution", (source,), parameters, settings)


def linear(to: Lowering, node: Node, given: Mapping[str, Any]) -> None:
    """A fully connected layer: 1x1 operators between the entries of the last axis."""
    parameters = _parameters(to, node, given, "weight", "bias")
    rank = len(shape_of(given["input"]))
    if rank < 2:
        raise OpaqueError("a linear layer without a batch axis")
    if len(shape_of(given["weight"])) != 2:
        raise OpaqueError("a linear layer to a single number")
    source = to.operation(given["input"], axis=rank - 1)
    settings = dict(cast=uncast(given["weight"]) is not given["weight"])
    to.emit(node, "linear", (source,), parameters, settings)


def product(to: Lowering, node: Node, given: Mapping[str, Any]) -> None:
    """A matrix product with a constant matrix is a linear layer without a name."""
    first, second = (given[key] for key in _FACTORS[base_name(node)])
    if not to.holds(first) or not to.is_constant(second) or len(shape_of(second)) != 2:
        raise OpaqueError("a product of matrices mixes channels by data")
    transposed = second.target in _TRANSPOSES and second.all_input_nodes[0].name in to.names
    if transposed:  # the way in which a linear layer is carried out
        weight = to.names[second.all_input_nodes[0].name]
    else:
        weight = f"{node.name}.weight"
        to.computed[weight] = to.constant(second).T.contiguous()
    parameters = {"weight": weight}
    if base_name(node) == "addmm":
        if float(given.get("beta", 1)) != 1 or float(given.get("alpha", 1)) != 1:
            raise OpaqueError("a scaled product of matrices")
        bias = to.tensor(given["self"], node, "bias")
        if bias is None or shape_of(given["self"]) != shape_of(node)[-1:]:
            raise OpaqueError("a product of matrices with a matrix added")
        parameters["bias"] = bias
    rank = len(shape_of(first))
    if rank < 2:
        raise OpaqueError("a product of a vector and a matrix")
    to.emit(node, "linear", (to.operation(first, axis=rank - 1),), parameters)


_FACTORS = {"addmm": ("mat1", "mat2"), "mm": ("self", "mat2"), "matmul": ("self", "other")}
_TRANSPOSES = (torch.ops.aten.t.default,)


def batch_norm(to: Lowering, node: Node, given: Mapping[str, Any]) -> None:
    """Batch norm by running statistics."""
    training = given.get("training", given.get("use_input_stats", False))
    if bool(training):
        raise OpaqueError("a batch norm by the statistics of the batch")
    if len(shape_of(given["input"])) < 2:
        raise OpaqueError("a batch norm without a batch axis")
    roles = ("weight", "bias", "running_mean", "running_var")
    parameters = _parameters(to, node, given, *roles)
    if not {"running_mean", "running_var"} <= parameters.keys():
        raise OpaqueError("a batch norm by the statistics of the batch")
    if to.computed.keys() & set(parameters.values()):
        raise OpaqueError("a batch norm whose numbers are computed")
    epsilon = float(given.get("eps", given.get("epsilon", 1e-5)))
    source = to.operation(given["input"], axis=1)
    to.emit_first(node, "batch_norm", (source,), parameters, dict(eps=epsilon))


def norm(to: Lowering, node: Node, given: Mapping[str, Any]) -> None:
    """Normalisation by statistics of the picture itself, over some channels together."""
    name = base_name(node)
    if name == "instance_norm" and not given.get("use_input_stats", True):
        batch_norm(to, node, given)
        return
    argument = given["input"]
    rank = len(shape_of(argument))
    if "layer" in name or "rms" in name:
        over = len(given["normalized_shape"])
        value = to.operations[to.operation(argument)]
        source = value.index
        groups = 1 if value.axis >= rank - over else value.channels
        affine = range(rank - over, rank)
    else:
        source = to.operation(argument, axis=1)
        channels = to.operations[source].channels
        groups = int(given.get("num_groups", given.get("group", channels)))
        affine = range(1, 2)
    axis = to.operations[source].axis
    parameters, settings = _affine(to, given, axis, affine)
    eps = given.get("eps")
    settings |= dict(function=name, groups=groups, eps=1e-5 if eps is None else float(eps))
    to.emit_first(node, "norm", (source,), parameters, settings)


def _affine(
    to: Lowering, given: Mapping[str, Any], axis: int, axes: range
) -> tuple[dict[str, str], dict[str, Any]]:
    """Parameters that hold one number for each channel; what the others do, as settings."""
    parameters: dict[str, str] = {}
    settings: dict[str, Any] = dict(gain=1.0, shifted=False)
    for role in ("weight", "bias"):
        argument = given.get(role)
        if argument is None:
            continue
        value = to.constant(argument)
        assert isinstance(value, Tensor)
        if tuple(axes) == (axis,) and argument.name in to.names:
            parameters[role] = to.names[argument.name]
        elif role == "bias":
            settings["shifted"] = True
        elif axis in axes:
            others = [place for place in range(value.ndim) if place != axes.index(axis)]
            found = value.detach().abs()
            settings["gain"] = found.amax(others).cpu().numpy() if others else found.cpu().numpy()
        else:
            settings["gain"] = float(value.detach().abs().max())
    return parameters, settings


RULES: Mapping[str, Rule] = (
    dict.fromkeys(tables.CONVOLUTION, convolution)
    | dict.fromkeys(tables.BATCH_NORM, batch_norm)
    | dict.fromkeys(tables.NORM, norm)
    | dict.fromkeys(_FACTORS, product)
    | {"linear": linear}
)
