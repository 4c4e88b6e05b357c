"""The compact network while it is built: its graph, its layers, and where each channel lies."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from leanline.compaction.pieces import Reference, Weaver, free_name, zero_value
from leanline.compaction.plan import CompactPlan
from leanline.compaction.shrinking import Channels
from leanline.graph.nodes import base_name, shape_of
from leanline.graph.program import Operation, Program

Refs = list[Reference | None]


class Draft:
    """A graph that grows, with the channels of every operation that it computes so far.

    Args:
        program: the traced network.
        plan: what stays of it.
        trained: names of its tensors that are parameters, and whether they are trained; others
            stay buffers.
    """

    def __init__(self, program: Program, plan: CompactPlan, trained: Mapping[str, bool]) -> None:
        self.program = program
        self.plan = plan
        self.trained = trained
        self.root = nn.Module()
        self.graph = fx.Graph()
        self.widths: dict[fx.Node, int] = {}
        device = next((t.device for t in program.tensors.values()), None)
        self.weaver = Weaver(self.graph, self.root, self.widths, device)
        self.values: dict[int, Refs] = {}
        self.inputs: list[fx.Node] = []
        self._constants: dict[tuple[object, ...], str] = {}
        self._again: dict[fx.Node, Any] = {}  # traced nodes that are run as they were

    # -- channels

    def hold(self, operation: Operation, node: fx.Node, live: Channels) -> None:
        """Note that ``node`` computes the live channels of an operation, in order."""
        self.widths[node] = int(live.sum())
        place = np.cumsum(live) - 1
        self.values[operation.index] = [
            (node, int(place[c])) if live[c] else None for c in range(live.size)
        ]

    def hold_all(self, operation: Operation, node: fx.Node) -> None:
        """Note that ``node`` computes all channels of an operation."""
        self.hold(operation, node, np.ones(operation.channels, bool))

    def read(self, index: int, chosen: Channels) -> fx.Node:
        """A node that holds the chosen channels of an operation's result."""
        values = self.values[index]
        like = next((reference[0] for reference in values if reference is not None), None)
        if like is None:
            return self._zeros(index, int(chosen.sum()))
        return self.weaver.weave([values[c] for c in np.flatnonzero(chosen)], like)

    def full(self, index: int) -> fx.Node:
        """A node that holds all channels of an operation's result."""
        operation = self.program.operations[index]
        reference = self.values[index][0] if self.values[index] else None
        if len(operation.shape) < 2 and reference is not None:
            return reference[0]
        return self.read(index, np.ones(operation.channels, bool))

    def _zeros(self, index: int, channels: int) -> fx.Node:
        """Zeros in place of a value that is zero and depends on nothing."""
        shape = list(self.program.operations[index].shape)
        if len(shape) >= 2:
            shape[1] = channels
        first = self.program.operations[0].shape
        batched = len(shape) >= 2 and shape[:1] == list(first[:1])
        dtype = dtype_of(self.program.operations[index])
        node = self.graph.call_function(zero_value, (self.inputs[0], tuple(shape), batched, dtype))
        self.widths[node] = channels
        return node

    # -- tensors of the model

    def constant(self, name: str, value: Tensor, part: bytes = b"") -> fx.Node:
        """A tensor of the model, or a part of one, as an attribute of the new one."""
        key = name, part
        if key not in self._constants:
            path = self._constants[key] = free_name(self.root, name.replace(".", "_"))
            if name in self.trained:
                trained = self.trained[name]
                self.root.register_parameter(path, nn.Parameter(value.clone(), trained))
            else:
                self.root.register_buffer(path, value.clone())
        return self.graph.get_attr(self._constants[key])

    def part(self, name: str | None, live: Channels) -> fx.Node | None:
        """The live entries of a parameter with one for each channel."""
        if name is None:
            return None
        value = self.program.tensors[name]
        chosen = torch.from_numpy(np.flatnonzero(live)).to(value.device)
        return self.constant(name, value[chosen], live.tobytes())

    # -- calls as they were traced

    def resolve(self, node: fx.Node) -> Any:
        """What a traced node computes, as a node of the new graph, on all channels."""
        place = self.program.places.get(node)
        if isinstance(place, int):
            return self.full(place)
        if node not in self._again:
            self._again[node] = self.repeat(node)
        return self._again[node]

    def repeat(self, node: fx.Node) -> Any:
        """Run a traced node again."""
        names = self.program.names
        if node.name in names:
            return self.constant(names[node.name], self.program.tensors[names[node.name]])
        if node.op == "placeholder":
            return node.meta.get("val")  # an input that is no tensor
        if node.op == "get_attr":
            value = operator.attrgetter(str(node.target))(self.program.module)
            return self.constant(str(node.target), value)
        target, given = call_of(node)
        arguments = fx.map_arg(given, self.resolve)
        return self.graph.call_function(target, arguments, fx.map_arg(node.kwargs, self.resolve))


_RESHAPES = frozenset({"view", "reshape", "_unsafe_view", "expand"})


def call_of(node: fx.Node) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """What a node calls, with which arguments.

    Views become reshapes, for a value may lie in memory otherwise than in the model. One that
    keeps the first axis keeps it at any batch.
    """
    assert callable(node.target)
    name, arguments = base_name(node), node.args
    if name not in _RESHAPES or not isinstance(arguments[0], fx.Node):
        return node.target, arguments
    target = node.target if name == "expand" else torch.reshape
    source, shape, size = shape_of(arguments[0]), shape_of(node), arguments[1]
    assert isinstance(size, list | tuple)
    if size and source and shape[:1] == source[:1] and (name != "expand" or source[0] != 1):
        size = [-1, *(size[1:] if name == "expand" else shape[1:])]
    return target, (arguments[0], size, *arguments[2:])


def dtype_of(operation: Operation) -> torch.dtype:
    """The type of an operation's result."""
    value = None if operation.node is None else operation.node.meta.get("val")
    if isinstance(value, list | tuple):
        value = value[0]
    return value.dtype if isinstance(value, Tensor) else torch.float32
