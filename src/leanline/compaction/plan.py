"""What a compact network computes: live channels of every operation. A pure plan; nothing changes.

A channel is live if it may be other than zero *and* some output needs it. The plan depends on the
filters that are present and on biases and shifts that are exactly zero, so that the compact
network's output equals the masked one's for any masks, cleaned or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from leanline.compaction.shrinking import (
    Channels,
    block_size,
    blocks,
    filter_matrix,
    is_depthwise,
    is_grouped,
    keeps_all,
    level,
    live_groups,
    together,
)
from leanline.graph.program import Operation, Program


@dataclass(frozen=True, eq=False)
class CompactPlan:
    """Live channels by operation.

    Attributes:
        live: for each operation of the program, which channels of its result are computed.
        reads: for each convolution and linear layer by index, which input channels it reads.
    """

    live: tuple[Channels, ...]
    reads: Mapping[int, Channels]

    def describe(self, program: Program) -> str:
        """A line an operation that loses channels: name, module, live of all."""
        lines = []
        for operation, live in zip(program.operations, self.live, strict=True):
            if not live.all():
                lines.append(
                    f"{operation.name:28s} {operation.module:28s} {live.sum()} of {live.size}"
                )
        return "\n".join(lines) or "nothing to drop"


def plan_compaction(program: Program) -> CompactPlan:
    """Find the live channels of a traced network: one sweep forward, one backward."""
    count = len(program.operations)
    filled: list[Channels] = []
    for operation in program.operations:
        filled.append(_filled(program, operation, [filled[i] for i in operation.inputs]))
    needed = [np.zeros(array.size, bool) for array in filled]
    reads: dict[int, Channels] = {}
    for index in reversed(range(count)):
        operation = program.operations[index]
        if operation.kind == "output":
            needed[index][:] = True
        live = needed[index] & filled[index]
        if keeps_all(program, operation) and needed[index].any():
            needed[index][:] = live[:] = True
        live = together(program, operation, live)
        needed[index] |= live
        for source, wanted in zip(
            operation.inputs, _wanted(program, operation, live, needed), strict=True
        ):
            needed[source] |= wanted
    live_sets = [a & b for a, b in zip(needed, filled, strict=True)]
    _carry_sizes(program, live_sets)
    for index, operation in enumerate(program.operations):
        if operation.kind in ("convolution", "linear"):
            reads[index] = _reads(program, operation, live_sets)
    return CompactPlan(tuple(live_sets), reads)


def _carry_sizes(program: Program, live: list[Channels]) -> None:
    """Give every value that is read at least one channel, if only one of zeros.

    A layer whose input is dead, or an output that is, still has a batch and a size. They come from
    the chain of operations, down to the network's input, so that they are right at any size.
    """
    for index in reversed(range(len(live))):
        operation = program.operations[index]
        inputs = operation.inputs
        if keeps_all(program, operation) and live[index].any():
            live[index][:] = True
        live[index] = together(program, operation, live[index])
        if operation.kind == "concat":
            ends = np.cumsum([live[i].size for i in inputs])
            for source, part in zip(inputs, np.split(live[index], ends[:-1]), strict=True):
                live[source] |= part
        elif operation.kind == "slice":
            live[inputs[0]][_taken(operation)] |= live[index]
        elif operation.kind == "add":
            if not any(live[i].any() for i in inputs):
                live[inputs[0]] |= live[index]
        elif live[index].any() or operation.kind == "output":
            for source in inputs:
                if live[source].size and not live[source].any():
                    same = live[source].size == live[index].size
                    live[source][int(live[index].argmax()) if same else 0] = True
    for index, operation in enumerate(program.operations):
        if operation.kind == "zeros":
            live[index][:] = False


def _reads(program: Program, operation: Operation, live: list[Channels]) -> Channels:
    """Which input channels a layer's smaller copy takes."""
    source, own = live[operation.inputs[0]], live[operation.index]
    if keeps_all(program, operation):
        return np.ones_like(source)
    if is_depthwise(program, operation):
        return own.copy()  # a channel each
    reads: Channels = filter_matrix(program, operation)[own].any(0) & source
    if is_grouped(program, operation):
        return level(reads, operation.settings["groups"], live_groups(operation, own))
    if own.any() and not reads.any():
        reads[int(source.argmax())] = True  # PyTorch wants one column; it is one of zeros
    return reads


def _filled(program: Program, operation: Operation, inputs: list[Channels]) -> Channels:
    """Channels of the result that may be other than zero."""
    kind, channels = operation.kind, operation.channels
    if kind == "input" or keeps_all(program, operation):
        return np.ones(channels, bool)
    if kind == "zeros":
        return np.zeros(channels, bool)
    if kind in ("convolution", "linear"):
        matrix = filter_matrix(program, operation)
        if is_depthwise(program, operation):
            fed = np.logical_and(matrix[:, 0], inputs[0])
        else:
            fed = np.any(matrix[:, inputs[0]], axis=1)
        return _either(fed, _nonzero(program, operation, "bias", channels))
    if kind == "batch_norm":
        scaled = inputs[0] & _nonzero(program, operation, "weight", channels, True)
        return _either(scaled, _shift(program, operation))
    if kind == "norm":
        shifted = _nonzero(program, operation, "bias", channels)
        return _either(blocks(inputs[0], block_size(program, operation)), shifted)
    if kind in ("shift", "divide"):
        return np.ones(channels, bool)
    if kind in ("add", "join"):
        return np.asarray(np.logical_or.reduce(inputs))
    if kind == "multiply":
        return np.asarray(np.logical_and.reduce(inputs))
    if kind == "mix":
        source, target = operation.settings["pairs"]
        filled = np.zeros(channels, bool)
        filled[target[np.concatenate(inputs)[source]]] = True
        return filled
    if kind == "concat":
        return np.concatenate(inputs)
    if kind == "slice":
        return inputs[0][_taken(operation)]
    return inputs[0].copy()


def _wanted(
    program: Program, operation: Operation, live: Channels, needed: list[Channels]
) -> list[Channels]:
    """Channels of each input that the live channels of the result need."""
    kind = operation.kind
    if keeps_all(program, operation):
        return [np.full(needed[i].size, live.any()) for i in operation.inputs]
    if kind in ("convolution", "linear"):
        matrix = filter_matrix(program, operation)
        alone = is_depthwise(program, operation)
        return [matrix[:, 0] & live if alone else matrix[live].any(0)]
    ends = np.cumsum([needed[i].size for i in operation.inputs])
    if kind == "concat":
        return np.split(live, ends[:-1])
    if kind == "mix":
        source, target = operation.settings["pairs"]
        mixed = np.zeros(ends[-1], bool)
        mixed[source[live[target]]] = True
        return np.split(mixed, ends[:-1])
    if kind == "slice":
        wanted = np.zeros(needed[operation.inputs[0]].size, bool)
        wanted[_taken(operation)] = live
        return [wanted]
    return [live for _ in operation.inputs]


def _either(first: Channels, second: Channels) -> Channels:
    union: Channels = first | second
    return union


def _taken(operation: Operation) -> slice:
    return slice(*(operation.settings[key] for key in ("start", "stop", "step")))


def _nonzero(
    program: Program, operation: Operation, role: str, channels: int, default: bool = False
) -> Channels:
    name = operation.parameters.get(role)
    if name is None:
        return np.full(channels, default)
    return (program.tensors[name] != 0).cpu().numpy()


def _shift(program: Program, operation: Operation) -> Channels:
    """Channels that a batch norm makes other than zero although they come in as zero."""
    numbers = {role: program.tensors[name] for role, name in operation.parameters.items()}
    scale = numbers["running_var"].add(operation.settings["eps"]).rsqrt()
    if "weight" in numbers:
        scale = scale * numbers["weight"]
    shift = -numbers["running_mean"] * scale
    if "bias" in numbers:
        shift = shift + numbers["bias"]
    return (shift != 0).cpu().numpy()
