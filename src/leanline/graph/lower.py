"""From an exported graph to the flat list of operations, by the rules of `rules`."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.fx
from jaxtyping import Int32
from torch import Tensor
from torch.fx import Node

from leanline.graph.constants import Constants
from leanline.graph.moved import Moved, natural_axis, sources
from leanline.graph.nodes import (
    arguments_of,
    base_name,
    module_of,
    shape_of,
    source_line,
    uncast,
)
from leanline.graph.program import Frozen, Operation

_log = logging.getLogger(__name__)

Rule = Callable[["Lowering", Node, Mapping[str, Any]], None]
Value = int | Moved | tuple["Value | None", ...]


class OpaqueError(Exception):
    """Says why an operator cannot be followed channel by channel."""


class Lowering:
    """Walks an exported graph once and collects operations.

    Args:
        names: Placeholder nodes of parameters, buffers and constants to the users' names.
        constants: Finds the values of nodes that depend on no input.
        modules: Paths of the model's modules.
        find_rule: Name of an operator to its rule (`rules.find`).
    """

    def __init__(
        self,
        names: Mapping[str, str],
        constants: Constants,
        modules: frozenset[str],
        find_rule: Callable[[str], Rule | None],
    ) -> None:
        self.find_rule = find_rule
        self.names = names
        self.constants = constants
        self.modules = modules
        self.operations: list[Operation] = []
        self.value: dict[Node, Value] = {}
        self.computed: dict[str, Tensor] = {}  # weights that are computed from parameters
        self.frozen: dict[int, Frozen] = {}  # by operation
        self._first: list[int] = []  # number of the first channel of each operation
        self._made: dict[tuple[Node, tuple[int, ...], int], int] = {}

    def run(self, graph: torch.fx.Graph, outputs: Sequence[Node]) -> tuple[Operation, ...]:
        """Lower a graph; `outputs` are the nodes of the user's outputs, in order."""
        for node in graph.nodes:
            if node in self.constants:
                continue
            if node.op == "placeholder":
                self.emit(node, "input", ())
            elif node.op == "call_function":
                self._lower(node)
        for position, node in enumerate(outputs):
            if self.holds(node) and isinstance(node.meta.get("val"), Tensor):
                source = self.operation(node)
                name = f"output_{position}"
                shape, axis = self.operations[source].shape, self.operations[source].axis
                self._append(Operation(0, "output", name, "", (source,), shape, axis=axis))
        return self._without_dead()

    # -- arguments

    def holds(self, argument: object) -> bool:
        """Whether an argument is a tensor that depends on the inputs."""
        return isinstance(argument, Node) and argument in self.value

    def is_constant(self, argument: object) -> bool:
        """Whether an argument is a node that depends on no input."""
        return argument in self.constants

    def constant(self, argument: object) -> Any:
        """The value of an argument that depends on no input; numbers are their own."""
        if isinstance(argument, Node):
            if argument not in self.constants:
                raise OpaqueError("a number that depends on the input")
            return self.constants.value(argument)
        return argument

    def is_zero(self, argument: object) -> bool:
        """Whether an argument is zero whatever the network learns."""
        if isinstance(argument, Node):
            return self.is_constant(argument) and self.constants.is_zero(argument)
        return isinstance(argument, int | float) and argument == 0

    def tensor(self, argument: object, node: Node, role: str) -> str | None:
        """The name of a parameter, buffer or computed weight; None for None."""
        if argument is None:
            return None
        if not isinstance(argument, Node) or argument not in self.constants:
            raise OpaqueError(f"its {role} depends on the input")
        origin = uncast(argument)
        if origin.name in self.names:
            return self.names[origin.name]
        value = self.constants.value(argument)
        if not isinstance(value, Tensor):
            raise OpaqueError(f"its {role} is a {type(value).__name__}")
        name = f"{node.name}.{role}"
        self.computed[name] = value
        return name

    def operation(self, argument: object, axis: int | None = None) -> int:
        """The operation that computes an argument, with channels on an axis (None: any)."""
        if not isinstance(argument, Node):
            raise OpaqueError("an argument that is no tensor")
        value = self.value.get(argument)
        if isinstance(value, int) and axis in (None, self.operations[value].axis):
            return value
        shape = shape_of(argument)
        if argument in self.constants:
            return self._constant(argument, shape, 1 if axis is None else axis)
        axis = natural_axis(self.moved(argument)) if axis is None else axis
        return self.mix(argument, shape, axis)

    def moved(self, argument: Node) -> Int32[Tensor, "..."]:
        """The number of the channel that each entry of an argument belongs to."""
        value = self.value.get(argument)
        if isinstance(value, Moved):
            return value.channel
        if value is None and argument in self.constants:
            value = self._constant(argument, shape_of(argument), 1)
        if not isinstance(value, int):
            raise OpaqueError("several results where one is read")
        operation = self.operations[value]
        numbers = torch.arange(operation.channels, dtype=torch.int32) + self._first[value]
        if len(operation.shape) < 2:
            return numbers[0].expand(operation.shape)
        shape = [1] * len(operation.shape)
        shape[operation.axis] = operation.channels
        return numbers.reshape(shape).expand(operation.shape)

    def aligned(self, node: Node, arguments: Sequence[Node]) -> list[int]:
        """Operations of several arguments, broadcast to the shape of a result, on one axis."""
        shape, axis = shape_of(node), None
        for argument in arguments:
            value = self.value.get(argument)
            if isinstance(value, int) and self._fits(value, shape):
                axis = self.operations[value].axis
                break
        if axis is None:
            axis = natural_axis(self.moved(arguments[0]).broadcast_to(shape))
        return [self.spread(argument, shape, axis) for argument in arguments]

    def spread(self, argument: Node, shape: tuple[int, ...], axis: int) -> int:
        """The operation of an argument that is broadcast to a shape with channels on an axis."""
        value = self.value.get(argument)
        fits = isinstance(value, int) and self._fits(value, shape)
        if isinstance(value, int) and fits and self.operations[value].axis == axis:
            return value
        if argument in self.constants:
            return self._constant(argument, shape, axis)
        return self.mix(argument, shape, axis)

    def _fits(self, index: int, shape: tuple[int, ...]) -> bool:
        operation = self.operations[index]
        if len(operation.shape) != len(shape):
            return False
        return len(shape) < 2 or operation.channels == shape[operation.axis]

    # -- results

    def emit(
        self,
        node: Node,
        kind: str,
        inputs: tuple[int, ...],
        parameters: Mapping[str, str] | None = None,
        settings: Mapping[str, Any] | None = None,
        axis: int | None = None,
    ) -> int:
        """Append the operation that computes `node` itself.

        Its channels are on the axis of its first input, unless another one is given.
        """
        if axis is None:
            axis = self.operations[inputs[0]].axis if inputs else 1
        index = self._append(
            Operation(
                0,
                kind,
                node.name,
                module_of(node, self.modules),
                inputs,
                shape_of(node),
                parameters or {},
                settings or {},
                node,
                axis,
            )
        )
        self.value[node] = index
        return index

    def emit_first(
        self,
        node: Node,
        kind: str,
        inputs: tuple[int, ...],
        parameters: Mapping[str, str],
        settings: Mapping[str, Any],
        axis: int | None = None,
    ) -> None:
        """Append the operation that computes the first, and only used, of a node's results."""
        several = not isinstance(node.meta.get("val"), Tensor)
        if several and any(user.args[1:] != (0,) and user.users for user in node.users):
            raise OpaqueError("more than the first of its results is read")
        index = self.emit(node, kind, inputs, parameters, settings, axis)
        if several:
            self.value[node] = (index,)

    def step(
        self, node: Node, kind: str, source: int, settings: Mapping[str, Any], shape: Sequence[int]
    ) -> int:
        """Append one of several operations that together compute `node`."""
        name = f"{node.name}_{kind}{len(self.operations)}"
        axis, module = self.operations[source].axis, module_of(node, self.modules)
        return self._append(
            Operation(0, kind, name, module, (source,), tuple(shape), {}, settings, node, axis)
        )

    def channels(self, node: Node, source: int, start: int, stop: int, step: int = 1) -> int:
        """Append a slice of channels."""
        before = self.operations[source]
        shape = list(before.shape)
        shape[before.axis] = len(range(start, stop, step))
        return self.step(node, "slice", source, dict(start=start, stop=stop, step=step), shape)

    def mix(self, argument: Node, shape: tuple[int, ...], axis: int) -> int:
        """The operation that gathers the channels of a moved argument, broadcast to a shape."""
        key = argument, shape, axis
        if key in self._made:
            return self._made[key]
        channel = self.moved(argument).broadcast_to(shape)
        pairs = sources(channel, axis)
        operations = np.searchsorted(self._first, pairs[0], side="right") - 1
        inputs = tuple(int(index) for index in np.unique(operations))
        shift, start = np.zeros(len(self.operations), dtype=np.int64), 0
        for index in inputs:
            shift[index] = start - self._first[index]
            start += self.operations[index].channels
        pairs[0] += shift[operations]
        whole = shape == shape_of(argument)
        name = f"{argument.name}_mix{len(self.operations)}"
        repeats = 1.0  # of each value of a channel in a channel of the result
        if inputs and pairs.size:
            before = self.operations[inputs[0]]
            repeats = channel.numel() / pairs.shape[1] / max(1, before.pixels)
        settings = dict(pairs=pairs, gain=math.sqrt(max(1.0, repeats)), broadcast=not whole)
        module = module_of(argument, self.modules)
        self._made[key] = self._append(
            Operation(0, "mix", name, module, inputs, shape, {}, settings, argument, axis)
        )
        return self._made[key]

    def _constant(self, argument: Node, shape: tuple[int, ...], axis: int) -> int:
        key = argument, shape, axis
        if key not in self._made:
            kind = "zeros" if self.constants.is_zero(argument) else "constant"
            name = f"{argument.name}_{kind}{len(self.operations)}"
            self._made[key] = self._append(
                Operation(0, kind, name, "", (), shape, {}, {}, argument, axis)
            )
        return self._made[key]

    def _append(self, operation: Operation) -> int:
        index = len(self.operations)
        last = self.operations[-1].channels if self.operations else 0
        self._first.append(self._first[-1] + last if self._first else 0)
        self.operations.append(replace(operation, index=index))
        return index

    def _lower(self, node: Node) -> None:
        if not any(other in self.value for other in node.all_input_nodes):
            if isinstance(node.meta.get("val"), Tensor):  # a random number
                self.emit(node, "constant", ())
            return
        before = len(self.operations)
        rule = self.find_rule(base_name(node))
        try:
            if rule is None:
                raise OpaqueError("the meaning of its channels is not known")
            rule(self, node, arguments_of(node))
        except Exception as error:  # a rule that does not know a case must not stop the user
            if not isinstance(error, OpaqueError):
                _log.debug("the rule of %s failed", node, exc_info=True)
                error = OpaqueError(f"its rule failed: {type(error).__name__}")
            del self.operations[before:], self._first[before:]
            self._made = {key: index for key, index in self._made.items() if index < before}
            self._opaque(node, str(error))

    def _opaque(self, node: Node, reason: str) -> None:
        read = [other for other in node.all_input_nodes if other in self.value]
        if not read or (node.meta.get("val") is None and not node.users):
            return  # an assertion
        inputs = tuple(dict.fromkeys(i for other in read for i in self._all(other)))
        parameters = {
            other.name: self.names[other.name]
            for other in node.all_input_nodes
            if other.name in self.names
        }
        index = self.emit(node, "opaque", inputs, parameters, axis=1)
        if base_name(node) != "getitem":
            module = module_of(node, self.modules)
            name = base_name(node)
            self.frozen[index] = Frozen(node.name, name, module, source_line(node), reason)

    def _all(self, node: Node) -> list[int]:
        value = self.value[node]
        if isinstance(value, tuple):
            return [part for part in value if isinstance(part, int)]
        return [self.operation(node)]

    def places(self) -> dict[Node, int | tuple[int | None, ...]]:
        """The operations that compute traced nodes."""
        found: dict[Node, int | tuple[int | None, ...]] = {}
        for node, value in self.value.items():
            if isinstance(value, tuple):
                found[node] = tuple(v if isinstance(v, int) else None for v in value)
            elif isinstance(value, int):
                found[node] = value
        return found

    def _without_dead(self) -> tuple[Operation, ...]:
        """Drop what no output needs (inputs stay) and number the rest anew."""
        kinds = ("input", "output")
        needed = {operation.index for operation in self.operations if operation.kind in kinds}
        for operation in reversed(self.operations):
            if operation.index in needed:
                needed.update(operation.inputs)
        self.frozen = {index: item for index, item in self.frozen.items() if index in needed}
        place = {index: position for position, index in enumerate(sorted(needed))}
        self.value = {
            node: tuple(place.get(i) if isinstance(i, int) else i for i in value)
            if isinstance(value, tuple)
            else place[value]
            if isinstance(value, int)
            else value
            for node, value in self.value.items()
            if not isinstance(value, int) or value in place
        }
        return tuple(
            replace(
                operation,
                index=place[operation.index],
                inputs=tuple(place[source] for source in operation.inputs),
            )
            for operation in self.operations
            if operation.index in place
        )
