"""How far operations can be made smaller: alone, by blocks, by groups, or not at all."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool
from scipy.linalg import block_diag

from leanline.compaction.movement import find_movements
from leanline.graph.present import present_filters
from leanline.graph.program import Operation, Program

Channels = Bool[np.ndarray, "_"]

_WHOLE = frozenset({"opaque", "constant"})
ELEMENTWISE = frozenset({"gain", "shift", "join", "multiply", "divide"})
_GROUPED_NORMS = frozenset({"instance_norm", "group_norm", "native_group_norm"})


def is_mixing(operation: Operation) -> bool:
    """Whether it mixes all channels by one matrix of filters (not grouped)."""
    groups = operation.settings.get("groups", 1)
    return operation.kind in ("convolution", "linear") and groups == 1


def is_depthwise(program: Program, operation: Operation) -> bool:
    """Whether it has exactly one filter a channel."""
    if operation.kind != "convolution" or operation.settings["groups"] == 1:
        return False
    weight = program.tensors[operation.parameters["weight"]]
    return len(weight) == operation.settings["groups"] and weight.shape[1] == 1


def keeps_all(program: Program, operation: Operation) -> bool:
    """Whether it keeps all its channels: operations that are not made smaller, grouped ones."""
    axes = {operation.axis, *(program.operations[index].axis for index in operation.inputs)}
    if operation.kind in _WHOLE or axes != {1} or operation.settings.get("cast", False):
        return True
    if operation.kind == "linear" and len(operation.shape) > 2:
        return True
    if operation.kind == "mix":
        return operation.index not in find_movements(program)
    if operation.kind == "norm":
        return operation.settings["function"] not in _GROUPED_NORMS
    if operation.kind in ELEMENTWISE:
        return not _by_channel(program, operation)
    return False


def is_grouped(program: Program, operation: Operation) -> bool:
    """Whether it is a convolution of several groups, with more than one filter a channel."""
    if operation.kind != "convolution" or operation.settings["groups"] == 1:
        return False
    return not is_depthwise(program, operation)


def _by_channel(program: Program, operation: Operation) -> bool:
    """Whether an elementwise operation can be done on some channels alone."""
    inputs = [program.operations[index] for index in operation.inputs]
    return (
        len(operation.shape) >= 2
        and len(operation.settings.get("arguments", ())) == len(inputs)
        and all(len(value.shape) == len(operation.shape) and value.axis == 1 for value in inputs)
        and not any(value.kind == "mix" and keeps_all(program, value) for value in inputs)
    )


def block_size(program: Program, operation: Operation) -> int:
    """How many channels, side by side, are only computed together."""
    if operation.kind == "norm" and not keeps_all(program, operation):
        return operation.channels // int(operation.settings["groups"])
    if operation.kind == "mix" and operation.index in find_movements(program):
        return find_movements(program)[operation.index].factor
    return 1


def blocks(flags: Channels, size: int) -> Channels:
    """True for all channels of a block that has one."""
    return flags if size == 1 else np.repeat(flags.reshape(-1, size).any(1), size)


def level(flags: Channels, groups: int, alive: Bool[np.ndarray, "groups"]) -> Channels:
    """The same number of channels in each group that is alive: the most that one needs.

    Args:
        flags: the channels that are needed, in one group after the other.
        groups: number of groups.
        alive: groups that are computed at all.
    """
    table = flags.reshape(groups, -1) & alive[:, None]
    most = max(int(table.sum(1).max()), 1)
    # a stable sort puts the channels that are needed first, each in its order
    order = np.argsort(~table, axis=1, kind="stable")
    filled = np.zeros_like(table)
    np.put_along_axis(filled, order[:, :most], True, axis=1)
    levelled: Channels = (filled & alive[:, None]).reshape(-1)
    return levelled


def live_groups(operation: Operation, live: Channels) -> Bool[np.ndarray, "groups"]:
    """Groups of a convolution that compute a live channel."""
    return np.asarray(live.reshape(operation.settings["groups"], -1).any(1))


def together(program: Program, operation: Operation, live: Channels) -> Channels:
    """The live channels, and those that are only computed together with them."""
    if is_grouped(program, operation) and not keeps_all(program, operation):
        return level(live, operation.settings["groups"], live_groups(operation, live))
    return blocks(live, block_size(program, operation))


def filter_matrix(program: Program, operation: Operation) -> Bool[np.ndarray, "out in"]:
    """Filters that are present, output x input channel (one column for a depthwise one)."""
    matrix = present_filters(program, operation.parameters["weight"])
    transposed = operation.settings.get("transposed", False)
    if is_grouped(program, operation):
        groups = operation.settings["groups"]
        parts = np.split(matrix, groups)
        whole = block_diag(*(part.T if transposed else part for part in parts))
        return np.asarray(whole, dtype=bool)
    return matrix.T if transposed and is_mixing(operation) else matrix
