"""How a network is called and what it returns: tensors in tuples, lists, dictionaries and the like.

The compact network takes and gives the same containers as the model, with the same keys.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import (
    GetAttrKey,
    MappingKey,
    SequenceKey,
    TreeSpec,
    tree_flatten,
    tree_flatten_with_path,
    tree_leaves,
    tree_unflatten,
)

from leanline.compaction.draft import Draft
from leanline.errors import ModelError
from leanline.graph.program import Operation
from leanline.types import ExampleInputs

Path = tuple[Any, ...]
"""The number of an argument, and the keys of the containers in it."""


def as_arguments(example_inputs: ExampleInputs) -> tuple[Any, ...]:
    """What a network is called with, as a tuple."""
    return example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)


def tensors_of(value: object) -> list[Tensor]:
    """All tensors in a container, in order."""
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def expect(given: Any, traced: Any) -> None:
    """Refuse another number, flag or text than the network was compacted with.

    Raises:
        ModelError: they differ.
    """
    if given is not traced and given != traced:
        raise ModelError(f"the network was compacted for the argument {traced!r}, not {given!r}")


class Container(nn.Module):
    """Puts values into the container that the model returns.

    Args:
        spec: the container's structure.
    """

    def __init__(self, spec: TreeSpec) -> None:
        super().__init__()
        self.spec = spec

    def forward(self, *leaves: Any) -> Any:
        """The container of the values."""
        return tree_unflatten(list(leaves), self.spec)


def emit_inputs(draft: Draft, arguments: tuple[Any, ...]) -> None:
    """Add the arguments of the network, and where in them its input tensors lie.

    Raises:
        ModelError: a container that cannot be taken apart.
    """
    operations = iter([item for item in draft.program.operations if item.kind == "input"])
    made: dict[Path, fx.Node] = {}
    required = max(i for i, argument in enumerate(arguments) if tensors_of(argument)) + 1
    inputs: list[tuple[Operation, fx.Node | Path]] = []
    checks: list[tuple[Path, Any]] = []
    for position, argument in enumerate(arguments):
        if isinstance(argument, Tensor):
            operation = next(operations)
            node = draft.graph.placeholder(operation.name)
            inputs.append((operation, node))
            continue
        default = {} if position < required else {"default_value": argument}
        made[(position,)] = draft.graph.placeholder(f"argument_{position}", **default)
        for path, leaf in _leaves(argument):
            if isinstance(leaf, Tensor):
                inputs.append((next(operations), (position, *path)))
            else:
                checks.append(((position, *path), leaf))
    for operation, place in inputs:
        node = place if isinstance(place, fx.Node) else _at(draft.graph, made, place)
        draft.inputs.append(node)
        draft.hold_all(operation, node)
    for place, leaf in checks:
        if leaf is None or isinstance(leaf, bool | int | float | str):
            draft.graph.call_function(expect, (_at(draft.graph, made, place), leaf))


def _leaves(argument: Any) -> list[tuple[Path, Any]]:
    """What lies in a container, with its path."""
    try:
        return [(tuple(path), leaf) for path, leaf in tree_flatten_with_path(argument)[0]]
    except ValueError as error:
        raise ModelError(
            f"an argument of the network is a {type(argument).__name__}, in which the places of "
            "tensors are not known: register it with keys (torch.utils._pytree), or give a "
            "dictionary or list"
        ) from error


def _at(graph: fx.Graph, made: dict[Path, fx.Node], path: Path) -> fx.Node:
    """The node of what lies at a path of keys in an argument."""
    if path in made:
        return made[path]
    holder, key = _at(graph, made, path[:-1]), path[-1]
    if isinstance(key, MappingKey):
        node = graph.call_function(operator.getitem, (holder, key.key))
    elif isinstance(key, SequenceKey):
        node = graph.call_function(operator.getitem, (holder, key.idx))
    elif isinstance(key, GetAttrKey):
        node = graph.call_function(getattr, (holder, key.name))
    else:
        raise ModelError(f"an argument of the network is a container with the odd key {key!r}")
    made[path] = node
    return node


def emit_outputs(draft: Draft, outputs: Sequence[fx.Node], example: object) -> None:
    """Return the outputs in the container that the model returns them in.

    Args:
        draft: what is added to.
        outputs: a node for each tensor that the model returns, in order.
        example: what the model returned for the example inputs.

    Raises:
        ModelError: the model returns tensors that do not depend on its inputs.
    """
    leaves, spec = tree_flatten(example)
    tensors = sum(isinstance(leaf, Tensor) for leaf in leaves)
    if tensors != len(outputs):
        raise ModelError(
            f"the model returns {tensors} tensors, but {len(outputs)} were found in its graph: "
            "an output that does not depend on the input cannot be kept"
        )
    nodes = iter(outputs)
    values = [next(nodes) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
    if _is_plain(example):
        draft.graph.output(tree_unflatten(values, spec))
        return
    path = "container"
    while hasattr(draft.root, path):
        path += "_"
    draft.root.add_module(path, Container(spec))
    draft.graph.output(draft.graph.call_module(path, tuple(values)))


def _is_plain(value: object) -> bool:
    """Whether there are only tuples, lists and dictionaries with plain keys around the leaves."""
    if type(value) is dict:
        return all(isinstance(key, str | int) and _is_plain(v) for key, v in value.items())
    if type(value) in (tuple, list):
        assert isinstance(value, tuple | list)
        return all(map(_is_plain, value))
    return bool(tree_flatten(value)[1].is_leaf())


def run(network: nn.Module, arguments: tuple[Any, ...]) -> Any:
    """Call a network on copies of its arguments, without gradients, with the same random numbers.

    The random state is left as it was.
    """
    leaves, spec = tree_flatten(arguments)
    copied = [leaf.detach().clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    devices = sorted({t.device.index or 0 for t in tensors if t.device.type == "cuda"})
    with torch.no_grad(), torch.random.fork_rng(devices=devices):
        torch.manual_seed(0)
        # the wrapper of a graph's call prints what fails, which may be expected here
        bare = isinstance(network, fx.GraphModule) and not network._forward_hooks
        call = network.forward if bare and not network._forward_pre_hooks else network
        return call(*tree_unflatten(copied, spec))
