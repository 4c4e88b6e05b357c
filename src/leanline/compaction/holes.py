"""Two graphs of one network at two sizes, node for node: which numbers in them differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_map

Path = tuple[int | str, ...]
"""Where a number stands in the arguments of a node: "args" or "kwargs", then keys."""


class DifferentError(Exception):
    """Says in which way two graphs are not the same network's."""


@dataclass(frozen=True)
class Hole:
    """A number that is not the same at two sizes.

    Attributes:
        path: where it stands in the arguments of its node.
        values: what it is at the one and at the other size.
    """

    path: Path
    values: tuple[float, float]


def find_holes(first: fx.GraphModule, second: fx.GraphModule) -> dict[fx.Node, list[Hole]]:
    """The numbers that differ, by node of the first graph.

    Raises:
        DifferentError: the graphs differ in more than numbers.
    """
    ours, theirs = list(first.graph.nodes), list(second.graph.nodes)
    if len(ours) != len(theirs):
        raise DifferentError(f"it takes {len(ours)} steps at one and {len(theirs)} at another size")
    match: dict[fx.Node, fx.Node] = {}
    found: dict[fx.Node, list[Hole]] = {}
    for one, other in zip(ours, theirs, strict=True):
        if one.op != other.op or not _same_target(first, second, one, other):
            raise DifferentError(f"it does {one.name} at one and {other.name} at another size")
        holes = [
            *_compare(one.args, other.args, ("args",), match, one),
            *_compare(one.kwargs, other.kwargs, ("kwargs",), match, one),
        ]
        if any(_is_axis(one, hole.path) for hole in holes):
            raise DifferentError(f"{one.name} works along another axis at another size")
        if holes:
            found[one] = holes
        match[one] = other
    return found


def _is_axis(node: fx.Node, path: Path) -> bool:
    """Whether an argument says which axis is meant."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or path[0] != "args":
        return path[:2] in (("kwargs", "dim"), ("kwargs", "axis"))
    return str(schema.arguments[path[1]].name) in ("dim", "dims", "dim0", "dim1", "axis")


def _same_target(
    first: fx.GraphModule, second: fx.GraphModule, one: fx.Node, other: fx.Node
) -> bool:
    if one.op == "output":
        return True
    if one.target != other.target:
        return False
    if one.op == "get_attr":
        return _same(_get(first, one), _get(second, other))
    if one.op == "call_module":
        ours, theirs = _get(first, one), _get(second, other)
        return repr(ours) == repr(theirs) and _same(ours.state_dict(), theirs.state_dict())
    return True


def _get(module: nn.Module, node: fx.Node) -> Any:
    found: Any = module
    for part in str(node.target).split("."):
        found = getattr(found, part)
    return found


def _same(one: Any, other: Any) -> bool:
    """Equal tensors, or dictionaries of equal tensors."""
    if isinstance(one, Tensor):
        return (
            isinstance(other, Tensor)
            and one.shape == other.shape
            and one.dtype == other.dtype
            and bool(((one == other) | ((one != one) & (other != other))).all())
        )
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return bool(one == other)


def _compare(
    one: Any, other: Any, path: Path, match: dict[fx.Node, fx.Node], node: fx.Node
) -> Iterator[Hole]:
    if isinstance(one, fx.Node):
        if match.get(one) is not other:
            raise DifferentError(f"{node.name} reads other values at another size")
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple):
        if len(one) != len(other):
            raise DifferentError(f"{node.name} reads {len(one)} and {len(other)} values")
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            yield from _compare(a, b, (*path, index), match, node)
    elif isinstance(one, dict) and isinstance(other, dict):
        if list(one) != list(other):
            raise DifferentError(f"{node.name} reads other arguments at another size")
        for key in one:
            yield from _compare(one[key], other[key], (*path, key), match, node)
    elif _is_number(one) and _is_number(other):
        if one != other:
            yield Hole(path, (one, other))
    elif isinstance(one, torch.dtype | torch.device | torch.layout | torch.memory_format):
        if one != other:
            raise DifferentError(f"{node.name} reads {one} and {other}")
    elif type(one) is not type(other) or one != other:
        raise DifferentError(f"{node.name} reads {str(one)[:40]} and {str(other)[:40]}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class _Shapes(fx.Interpreter):
    """Notes the shapes of all results."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.found: dict[fx.Node, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.found[n] = tuple(result.shape)
        return result


def shapes_of(module: fx.GraphModule, arguments: tuple[Any, ...]) -> dict[fx.Node, tuple[int, ...]]:
    """The shape of every tensor that a graph makes of some arguments, by running it once."""
    given = tree_map(lambda x: x.detach().clone() if isinstance(x, Tensor) else x, arguments)
    shapes = _Shapes(module)
    devices = sorted({t.device.index or 0 for t in module.parameters() if t.device.type == "cuda"})
    with torch.no_grad(), torch.random.fork_rng(devices=devices):
        shapes.run(*given, enable_io_processing=False)
    return shapes.found
