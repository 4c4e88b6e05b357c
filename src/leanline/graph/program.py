"""A network as a flat list of operations with symbolic channels.

A model is traced once; the pruning graph, liveness, compaction and the runtime all interpret the
same `Program`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch.fx
from torch import Tensor

KINDS = (
    "input",  # an example input
    "zeros",  # a tensor of zeros made on the way (a buffer to be filled)
    "constant",  # any other tensor that depends on no input
    "convolution",  # 1-D to 3-D, any stride, dilation, groups, transposed or not; padding inside
    "linear",  # a fully connected layer on the axis of the channels, the last one
    "batch_norm",  # in eval mode, with running statistics
    "norm",  # by the picture's own statistics: instance, group, layer and RMS normalisation
    "unary",  # elementwise, f(0) = 0, with a Lipschitz constant in settings["lipschitz"]
    "gain",  # times a constant for each channel
    "shift",  # elementwise, f(0) may be anything: sigmoid, plus a constant
    "pool",  # channel by channel, zero stays zero; reductions of other axes too
    "resample",  # channel by channel, zero stays zero
    "pad",  # spatial padding (or cropping, negative), zero stays zero
    "add",  # inputs[0] + alpha * inputs[1], equal shapes
    "join",  # elementwise on several inputs, zero where all are: maximum, sums that broadcast
    "multiply",  # elementwise on two inputs, zero where one is: a gate
    "divide",  # inputs[0] / inputs[1], zero where the first is and the second is not
    "concat",  # along the channels
    "slice",  # channels start:stop:step
    "mix",  # each channel of the result comes from some channels: shuffle, flatten, channel sum
    "identity",  # same values (clone, dropout in eval mode, cast, contiguous)
    "output",  # an output of the network
    "opaque",  # everything else: freezes the channels it reads and writes
)


@dataclass(frozen=True)
class Frozen:
    """An operation that could not be followed channel by channel.

    Attributes:
        name: Name of the traced node.
        operator: What it computes, as PyTorch calls it.
        module: Path of the module that called it, "" at the top.
        source: File and line of the call, "" if not known.
        reason: Why.
    """

    name: str
    operator: str
    module: str
    source: str
    reason: str

    def __str__(self) -> str:
        """One line for people."""
        place = ", ".join(part for part in (self.module, self.source) if part)
        return f"{self.name} ({place}): {self.reason}" if place else f"{self.name}: {self.reason}"


@dataclass(frozen=True, eq=False)
class Operation:
    """One step of a program.

    Attributes:
        index: Position in `Program.operations`.
        kind: One of `KINDS`.
        name: Name of the traced node, unique (with a suffix where one node became several steps).
        module: Path of the module that called it ("convs.3"), "" at the top.
        inputs: Indices of the operations whose results it reads, in order.
        shape: Shape of its result with the example inputs (of the first, if it has several).
        parameters: Role to name of a parameter or buffer in the user's unmasked model, e.g.
            {"weight": "convs.0.weight", "bias": "convs.0.bias"}; batch norm also has "running_mean"
            and "running_var". For an opaque operation: argument node to name.
        settings: Numbers that complete it. convolution: stride, padding, dilation,
            output_padding (a tuple each), groups, transposed, cast (to another type, by autocast);
            linear: cast; batch_norm: eps; norm: groups of
            channels that share statistics, gain (of each channel), shifted (adds a constant that
            is no parameter of its own for each channel); unary, pool and resample: function (name
            in ATen without underscore) and its arguments, unary also lipschitz, reductions gain;
            gain and shift: gain, one number or one for each channel; pad: mode, padding (as in
            `torch.nn.functional.pad`), value; add: alpha; join: gains, one for each input; slice:
            start, stop, step; mix: pairs, (2, n) array of a channel among those of all inputs
            together and a channel of the result, gain.
        node: The traced node; opaque operations are run again by it.
        axis: Which axis the channels are on.
    """

    index: int
    kind: str
    name: str
    module: str
    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    parameters: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    node: torch.fx.Node | None = None
    axis: int = 1

    @property
    def channels(self) -> int:
        """Number of channels of the result; 1 where there is at most one axis."""
        return self.shape[self.axis] if len(self.shape) >= 2 else 1

    @property
    def pixels(self) -> int:
        """Number of values of each channel, in the whole batch."""
        return math.prod(self.shape) // max(1, self.channels)

    @property
    def size(self) -> tuple[int, ...]:
        """Spatial size of the result."""
        return tuple(n for place, n in enumerate(self.shape) if place not in (0, self.axis))


@dataclass(frozen=True, eq=False)
class Program:
    """A traced network.

    Attributes:
        operations: In an order in which each reads only earlier ones; steps that no output needs
            are left out.
        module: The exported graph that the nodes belong to.
        tensors: Parameters, buffers and constants by name; masks and other parametrisations are
            baked in, names are those of the unmasked model.
        kept: Filter masks found on the model by parameter name, True = kept.
        tracer: Which tracer made it.
        frozen: What could not be followed: opaque operations and layers with computed weights.
        unreached: Weights of convolutions and linear layers that no output depends on.
        fixed: Names of tensors that must stay as they are: weights that the network computes from
            its parameters, as weight standardisation does, buffers in the place of parameters, and
            what is read by more than the operations that have it as a parameter.
        names: Placeholder nodes, by name, to the tensors that they stand for.
        places: For each traced node, the operation that computes it (several: a tuple of them).
            Nodes that only move channels, and constants, may have none.
        parameters: Which of the tensors are parameters, each once.
    """

    operations: tuple[Operation, ...]
    module: torch.fx.GraphModule
    tensors: Mapping[str, Tensor]
    kept: Mapping[str, Tensor]
    tracer: str
    frozen: tuple[Frozen, ...]
    unreached: tuple[str, ...]
    fixed: frozenset[str]
    names: Mapping[str, str]
    places: Mapping[torch.fx.Node, int | tuple[int | None, ...]]
    parameters: tuple[str, ...]

    @property
    def uses(self) -> dict[str, tuple[Operation, ...]]:
        """Parameter or buffer name to the operations that read it."""
        found: dict[str, list[Operation]] = {}
        for operation in self.operations:
            for name in operation.parameters.values():
                found.setdefault(name, []).append(operation)
        return {name: tuple(operations) for name, operations in found.items()}

    @property
    def readers(self) -> tuple[tuple[int, ...], ...]:
        """For each operation, the indices of the operations that read its result."""
        found: list[list[int]] = [[] for _ in self.operations]
        for operation in self.operations:
            for source in operation.inputs:
                found[source].append(operation.index)
        return tuple(tuple(group) for group in found)
