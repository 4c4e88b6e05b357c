"""A network as a flat list of operations with symbolic channels.

A model is traced once; the pruning graph, liveness, compaction and the runtime all interpret the
same `Program`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch.fx
from torch import Tensor

KINDS = (
    "input",  # an example input
    "zeros",  # a tensor of zeros made on the way (a buffer to be filled)
    "convolution",  # 1-D to 3-D, any stride, dilation, groups, transposed or not; padding inside
    "linear",  # a fully connected layer on (batch, features)
    "batch_norm",  # in eval mode, with running statistics
    "unary",  # elementwise, f(0) = 0, with a Lipschitz constant in settings["lipschitz"]
    "pool",  # channel by channel, zero stays zero
    "resample",  # channel by channel, zero stays zero
    "pad",  # spatial padding (or cropping, negative), zero stays zero
    "add",  # inputs[0] + alpha * inputs[1], equal shapes
    "concat",  # along the channels
    "slice",  # channels start:stop:step
    "identity",  # same values (clone, dropout in eval mode, cast, contiguous)
    "output",  # an output of the network
    "opaque",  # everything else: freezes the channels it reads and writes
)


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
            output_padding (a tuple each), groups, transposed; batch_norm: eps; unary, pool and
            resample: function (name in ATen without underscore) and its arguments, unary also
            lipschitz; pad: mode, padding (as in `torch.nn.functional.pad`), value; add: alpha;
            slice: start, stop, step.
        node: The traced node; opaque operations are run again by it.
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

    @property
    def channels(self) -> int:
        """Number of channels of the result: axis 1, or 1 where there is no such axis."""
        return self.shape[1] if len(self.shape) >= 2 else 1

    @property
    def size(self) -> tuple[int, ...]:
        """Spatial size of the result."""
        return self.shape[2:]


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
        frozen: What the opaque operations are, as "name (module)".
        places: For each traced node, the operation that computes it (several: a tuple of them).
        parameters: Which of the tensors are parameters, each once.
    """

    operations: tuple[Operation, ...]
    module: torch.fx.GraphModule
    tensors: Mapping[str, Tensor]
    kept: Mapping[str, Tensor]
    tracer: str
    frozen: tuple[str, ...]
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
