"""Values of traced nodes that depend on no input: parameters, and what is computed from them."""

from __future__ import annotations

import operator
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node


class Constants:
    """Finds constant nodes of a traced graph, and evaluates them when somebody asks.

    Args:
        module: The traced graph.
        values: Placeholder nodes, by name, to parameters, buffers, constants, and inputs of the
            model that are no tensors.
        learned: Those of them that are parameters or buffers.
    """

    def __init__(
        self, module: GraphModule, values: Mapping[str, Any], learned: Collection[str]
    ) -> None:
        self._module = module
        self._learned: set[Node] = set()
        self._found: dict[Node, Any] = {}
        self._nodes: set[Node] = set()
        for node in module.graph.nodes:
            given = node.op == "placeholder" and node.name in learned
            if given or not self._learned.isdisjoint(node.all_input_nodes):
                self._learned.add(node)
            if node.op == "placeholder" and node.name in values:
                self._found[node] = values[node.name]
                self._nodes.add(node)
            elif node.op == "get_attr" or (
                node.op == "call_function"
                and _is_pure(node)
                and all(source in self._nodes for source in node.all_input_nodes)
            ):
                self._nodes.add(node)

    def __contains__(self, node: object) -> bool:
        return node in self._nodes

    def is_zero(self, node: Node) -> bool:
        """Whether a constant node is zero for ever; one that is learned may be so only now."""
        value = None if node in self._learned else self.value(node)
        return isinstance(value, int | float | Tensor) and not bool(torch.as_tensor(value).any())

    def value(self, node: Node) -> Any:
        """The value of a constant node."""
        if node not in self._found:
            if node.op == "get_attr":
                found: Any = self._module
                for part in str(node.target).split("."):
                    found = getattr(found, part)
            else:
                assert callable(node.target)
                given = torch.fx.map_arg(node.args, self.value)
                named = torch.fx.map_arg(node.kwargs, self.value)
                with torch.no_grad():
                    found = node.target(*given, **named)
            self._found[node] = found
        found = self._found[node]
        return found.detach() if isinstance(found, Tensor) else found


def _is_pure(node: Node) -> bool:
    """Whether it gives the same again and changes nothing."""
    if node.target is operator.getitem:
        return True
    schema = getattr(node.target, "_schema", None)
    tags = getattr(node.target, "tags", ())
    return (
        schema is not None
        and not schema.is_mutable
        and torch.Tag.nondeterministic_seeded not in tags
    )
