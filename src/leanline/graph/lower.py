"""From an exported graph to the flat list of operations, by the tables of `operations`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch.fx
from torch import Tensor
from torch.fx import Node

from leanline.graph.program import Operation

_INPUTS = ("self", "input")
Rule = Callable[["Lowering", Node, Mapping[str, Any]], bool]


class Lowering:
    """Walks an exported graph once and collects operations.

    Args:
        names: Placeholder nodes of parameters, buffers and constants to the users' names.
        modules: Paths of the model's modules.
        find_rule: Name of an operator to its rule (`rules.find`).
    """

    def __init__(
        self,
        names: Mapping[str, str],
        modules: frozenset[str],
        find_rule: Callable[[str], Rule | None],
    ) -> None:
        self.find_rule = find_rule
        self.names = names
        self.modules = modules
        self.operations: list[Operation] = []
        self.value: dict[Node, int | tuple[int | None, ...]] = {}

    def run(self, graph: torch.fx.Graph, outputs: Sequence[Node]) -> tuple[Operation, ...]:
        """Lower a graph; `outputs` are the nodes of the user's outputs, in order."""
        for node in graph.nodes:
            if node.op == "placeholder" and node.name not in self.names:
                if isinstance(node.meta.get("val"), Tensor):
                    self.emit(node, "input", ())
            elif node.op in ("call_function", "get_attr") and not self._lower(node):
                self._opaque(node)
        for position, node in enumerate(outputs):
            source = self.value.get(node)
            if isinstance(source, int):
                self._append(
                    node, "output", (source,), self.shape(source), {}, {}, f"output_{position}"
                )
        return self._without_dead()

    # -- helpers that the rules use

    def shape(self, index: int) -> tuple[int, ...]:
        """Shape of the result of an operation."""
        return self.operations[index].shape

    def source(self, node: object) -> int | None:
        """The operation behind an argument, None if it is no activation."""
        value = self.value.get(node) if isinstance(node, Node) else None
        return value if isinstance(value, int) else None

    def tensor(self, node: object) -> str | None:
        """The user's name of an argument that is a parameter or buffer."""
        return self.names.get(node.name) if isinstance(node, Node) else None

    def emit(
        self,
        node: Node,
        kind: str,
        inputs: tuple[int, ...],
        parameters: Mapping[str, str] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> bool:
        """Append the operation that computes `node` itself."""
        self.value[node] = self._append(
            node, kind, inputs, shape_of(node), parameters or {}, settings or {}, node.name
        )
        return True

    def emit_first(
        self,
        node: Node,
        kind: str,
        inputs: tuple[int, ...],
        parameters: Mapping[str, str],
        settings: Mapping[str, Any],
    ) -> bool:
        """Append the operation that computes the first, and only used, of a node's results."""
        self.emit(node, kind, inputs, parameters, settings)
        index = self.value[node]
        if isinstance(index, int) and not isinstance(node.meta.get("val"), Tensor):
            self.value[node] = (index,)
        return True

    def step(
        self, node: Node, kind: str, source: int, settings: Mapping[str, Any], shape: Sequence[int]
    ) -> int:
        """Append one of several operations that together compute `node`."""
        name = f"{node.name}_{kind}{len(self.operations)}"
        return self._append(node, kind, (source,), tuple(shape), {}, settings, name)

    def channels(self, node: Node, source: int, start: int, stop: int, step: int = 1) -> int:
        """Append a slice of channels."""
        shape = list(self.shape(source))
        shape[1] = len(range(start, stop, step))
        return self.step(node, "slice", source, dict(start=start, stop=stop, step=step), shape)

    def _append(
        self,
        node: Node,
        kind: str,
        inputs: tuple[int, ...],
        shape: tuple[int, ...],
        parameters: Mapping[str, str],
        settings: Mapping[str, Any],
        name: str,
    ) -> int:
        index = len(self.operations)
        self.operations.append(
            Operation(
                index, kind, name, self._module(node), inputs, shape, parameters, settings, node
            )
        )
        return index

    def _module(self, node: Node) -> str:
        stack = node.meta.get("nn_module_stack") or {}
        path = str(list(stack.values())[-1][0]).split("@")[0] if stack else ""
        for prefix in ("L['self'].", "L['self']"):
            path = path.removeprefix(prefix)
        return path if path in self.modules else ""

    def _lower(self, node: Node) -> bool:
        rule = self.find_rule(base_name(node))
        return rule(self, node, arguments_of(node)) if rule is not None else False

    def _opaque(self, node: Node) -> None:
        if node.meta.get("val") is None and not node.users:
            return  # an assertion
        inputs = tuple(
            value
            for other in node.all_input_nodes
            if isinstance(value := self.value.get(other), int)
        )
        parameters = {
            other.name: self.names[other.name]
            for other in node.all_input_nodes
            if other.name in self.names
        }
        self.emit(node, "opaque", inputs, parameters)

    def _without_dead(self) -> tuple[Operation, ...]:
        """Drop what no output needs (inputs stay) and number the rest anew."""
        kinds = ("input", "output")
        needed = {operation.index for operation in self.operations if operation.kind in kinds}
        for operation in reversed(self.operations):
            if operation.index in needed:
                needed.update(operation.inputs)
        place = {index: position for position, index in enumerate(sorted(needed))}
        self.value = {
            node: tuple(place.get(i) if i is not None else None for i in value)
            if isinstance(value, tuple)
            else place[value]
            for node, value in self.value.items()
            if isinstance(value, tuple) or value in place
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


def shape_of(node: Node) -> tuple[int, ...]:
    """Shape of a node's result, of the first where there are several; () if it is no tensor."""
    value = node.meta.get("val")
    if isinstance(value, tuple | list) and value:
        value = value[0]
    return tuple(int(extent) for extent in value.shape) if isinstance(value, Tensor) else ()


def arguments_of(node: Node) -> dict[str, Any]:
    """All arguments of a node by their names in the operator's schema, defaults too."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return {}
    found: dict[str, Any] = {}
    for position, argument in enumerate(schema.arguments):
        if position < len(node.args):
            found[argument.name] = node.args[position]
        elif argument.name in node.kwargs:
            found[argument.name] = node.kwargs[argument.name]
        elif argument.has_default_value():
            found[argument.name] = argument.default_value
    return found


def plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that are no tensors, lists as tuples."""
    return {
        name: tuple(value) if isinstance(value, list | tuple) else value
        for name, value in arguments.items()
        if name not in _INPUTS and not isinstance(value, Node)
    }


def base_name(node: Node) -> str:
    """Name of the operator without namespace, overload and trailing underscore."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return getattr(node.target, "__name__", str(node.target))
    namespace, _, name = str(schema.name).partition("::")
    return name.rstrip("_") if namespace == "aten" else str(schema.name)
