"""Tensors of a network that must stay as they are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from torch.fx import GraphModule, Node

from leanline.graph.nodes import base_name, module_of, source_line, uncast
from leanline.graph.program import Frozen, Operation


def find_fixed(
    module: GraphModule,
    operations: Sequence[Operation],
    names: Mapping[str, str],
    parameters: Collection[str],
) -> frozenset[str]:
    """Weights and biases that no mask may be put on.

    These are buffers in the place of parameters, which have no slot for a mask, and parameters that
    something reads beside the operations that have them: another computation, an unknown operation.

    Args:
        module: The traced graph.
        operations: What it was lowered to.
        names: Its placeholder nodes, by name, to parameters, buffers and constants.
        parameters: Names of the model's parameters.
    """
    own: dict[tuple[Node, str], None] = {}
    fixed: set[str] = set()
    for operation in operations:
        for role, name in operation.parameters.items():
            if operation.kind != "opaque" and operation.node is not None:
                own[operation.node, name] = None
            if name not in parameters and role in ("weight", "bias"):
                fixed.add(name)
    for node in module.graph.nodes:
        known = names.get(node.name) if node.op == "placeholder" else None
        if known is None or known not in parameters:
            continue
        for reader in _readers(node):
            transposed = base_name(reader) == "t"  # a linear layer, taken apart
            if (reader, known) not in own and reader.op != "output" and not transposed:
                fixed.add(known)
    return frozenset(fixed)


def _readers(node: Node) -> list[Node]:
    """The nodes that read a value, behind copies and casts."""
    found: list[Node] = []
    for user in node.users:
        found += _readers(user) if uncast(user) is not user else [user]
    return found


def frozen_weights(
    operations: Sequence[Operation],
    fixed: Collection[str],
    computed: Collection[str],
    modules: frozenset[str],
) -> list[Frozen]:
    """Convolutions and linear layers whose filters cannot be pruned, and why."""
    found = []
    for operation in operations:
        name = operation.parameters.get("weight", "")
        if operation.kind != "convolution" or operation.node is None or name not in fixed:
            continue
        reason = "something else reads its weight too, or it is no parameter"
        if name in computed:
            reason = "its weight is computed from other parameters"
        place = module_of(operation.node, modules), source_line(operation.node)
        found.append(Frozen(operation.node.name, operation.kind, *place, reason))
    return found
