"""Numbers in a graph that are sizes of a picture become what they are: sizes, read when it runs."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, fx

from leanline.compaction.expressions import Expression, Formula, Pair, Size, Sizes
from leanline.compaction.holes import DifferentError, Hole, Path
from leanline.graph.nodes import base_name

Shapes = Mapping[fx.Node, tuple[int, ...]]


def size_of(tensor: Tensor, axis: int) -> int:
    """One size of a tensor."""
    return tensor.shape[axis]


def pad_if_needed(
    pad: Callable[..., Tensor], images: Tensor, padding: Sequence[int], *settings: Any
) -> Tensor:
    """Pad, unless there is nothing to pad: as the model decides, without a copy."""
    if all(isinstance(count, int) and count == 0 for count in padding):
        return images
    return pad(images, padding, *settings)


def resize_if_needed(
    resize: Callable[..., Tensor], images: Tensor, size: Sequence[int], *settings: Any
) -> Tensor:
    """Interpolate, unless the picture has that size already."""
    numbers = *size, *images.shape[2:]
    if all(isinstance(n, int) for n in numbers) and list(size) == list(images.shape[2:]):
        return images
    return resize(images, size, *settings)


class Filler:
    """Copies a graph with expressions in place of numbers that differ with the size.

    Args:
        module: the network at one size.
        shapes: of its values, at that size and at the other one; by nodes of this graph.
        holes: the numbers.
    """

    def __init__(
        self,
        module: fx.GraphModule,
        shapes: tuple[Shapes, Shapes],
        holes: Mapping[fx.Node, list[Hole]],
    ) -> None:
        self._module = module
        self._shapes = shapes
        self._holes = holes
        self._graph = fx.Graph()
        self._copies: dict[fx.Node, fx.Node] = {}
        self._sizes: dict[Size, fx.Node] = {}
        self._last: fx.Node | None = None  # of the inputs
        self._inputs: list[fx.Node] = []
        self._earlier: list[fx.Node] = []

    def run(self) -> fx.GraphModule:
        """The network that works at both sizes.

        Raises:
            DifferentError: a number that is no simple expression of sizes.
        """
        for node in self._module.graph.nodes:
            found = self._expressions(node) if node in self._holes else {}
            copy = self._graph.node_copy(node, self._copies.__getitem__)
            self._copies[node] = copy
            for path, expression in found.items():
                with self._graph.inserting_before(copy):
                    value = self._emit(expression)
                _put(copy, path, value)
            if found:
                _relax(copy)
            if node.op == "placeholder":
                self._last = copy
                self._inputs.append(node)
            elif node in self._shapes[0]:
                self._earlier.append(node)
        self._graph.lint()
        return fx.GraphModule(self._module, self._graph, class_name="Compact")

    # -- which expressions

    def _expressions(self, node: fx.Node) -> dict[Path, Expression]:
        holes = {hole.path: hole.values for hole in self._holes[node]}
        near = list(dict.fromkeys(node.all_input_nodes))
        order = [*near, *self._inputs, *reversed(self._earlier)]
        found: dict[Path, Expression] = {}
        sizes = Sizes(self._pairs(near), self._pairs(order[len(near) :]))
        if _is_padding(node):
            found |= self._padding(node, holes, order, sizes)
        for group in _runs([path for path in holes if path not in found]):
            found |= self._joint([holes[path] for path in group], group, order)
        for path, values in holes.items():
            if path not in found:
                expression = sizes.find(values)
                if expression is None:
                    one, other = values
                    raise DifferentError(
                        f"{node.name} has the number {one} at one and {other} at another size"
                    )
                found[path] = expression
        return found

    def _pairs(self, nodes: Sequence[fx.Node]) -> Iterator[tuple[Size, Pair]]:
        for node in nodes:
            if node in self._shapes[0]:
                for axis, values in enumerate(self._both(node)):
                    yield Size(node, axis), values

    def _both(self, node: fx.Node) -> list[Pair]:
        one, other = (shapes[node] for shapes in self._shapes)
        return list(zip(one, other, strict=True))

    def _joint(
        self, values: list[Pair], paths: list[Path], order: Sequence[fx.Node]
    ) -> dict[Path, Expression]:
        """Sizes side by side, such as height and width, of one tensor."""
        if len(values) < 2:
            return {}
        for node in order:
            if node not in self._shapes[0]:
                continue
            known = self._both(node)
            for start in range(len(known) - len(values), -1, -1):
                if known[start : start + len(values)] == values:
                    return {path: Size(node, start + i) for i, path in enumerate(paths)}
        return {}

    def _padding(
        self, node: fx.Node, holes: Mapping[Path, Pair], order: Sequence[fx.Node], sizes: Sizes
    ) -> dict[Path, Expression]:
        """Padding up to the size of another tensor, or to a multiple."""
        images, padding = node.args[0], node.args[1]
        assert isinstance(images, fx.Node) and isinstance(padding, list | tuple)
        own = self._both(images)
        sides = [holes.get(("args", 1, i), (n, n)) for i, n in enumerate(padding)]
        totals: dict[int, Pair] = {}
        for i in range(0, len(sides), 2):
            total = sides[i][0] + sides[i + 1][0], sides[i][1] + sides[i + 1][1]
            if total[0] != total[1]:
                totals[len(own) - 1 - i // 2] = total
        wanted = {
            axis: (own[axis][0] + total[0], own[axis][1] + total[1])
            for axis, total in totals.items()
        }
        like = next(
            (
                other
                for other in order
                if len(self._shapes[0].get(other, ())) == len(own)
                and all(self._both(other)[axis] == values for axis, values in wanted.items())
            ),
            None,
        )
        found: dict[Path, Expression] = {}
        for axis, total in totals.items():
            size = Size(images, axis)
            gap: Expression | None
            if like is not None:
                gap = Formula(operator.sub, (Size(like, axis), size))
            else:
                gap = sizes.find_padding(size, own[axis], total)
            if gap is None:
                continue
            place = 2 * (len(own) - 1 - axis)
            found |= _split(gap, total, sides[place], sides[place + 1], place)
        return found

    # -- into the graph

    def _emit(self, expression: Any) -> Any:
        if isinstance(expression, Size):
            return self._size(expression)
        if isinstance(expression, Formula):
            terms = tuple(self._emit(term) for term in expression.terms)
            return self._graph.call_function(expression.function, terms)
        return expression

    def _size(self, size: Size) -> fx.Node:
        """Read where the tensor is made, so that it need not be held for its size."""
        if size not in self._sizes:
            source = self._copies[size.source]
            after = self._last if source.op == "placeholder" else source
            assert after is not None
            with self._graph.inserting_after(after):
                self._sizes[size] = self._graph.call_function(size_of, (source, size.axis))
        return self._sizes[size]


def _runs(paths: list[Path]) -> Iterator[list[Path]]:
    """Groups of numbers that stand side by side in one list."""
    group: list[Path] = []
    for path in paths:
        last = group[-1] if group else None
        beside = (
            last is not None
            and last[:-1] == path[:-1]
            and isinstance(path[-1], int)
            and isinstance(last[-1], int)
            and path[-1] == last[-1] + 1
        )
        if not beside and group:
            yield group
            group = []
        group.append(path)
    if group:
        yield group


def _split(
    gap: Expression, total: Pair, left: Pair, right: Pair, place: int
) -> dict[Path, Expression]:
    """Padding on both sides, of which one may be a constant."""
    paths: tuple[Path, Path] = ("args", 1, place), ("args", 1, place + 1)
    if left[0] == left[1]:
        return {paths[1]: Formula(operator.sub, (gap, left[0])) if left[0] else gap}
    if right[0] == right[1]:
        return {paths[0]: Formula(operator.sub, (gap, right[0])) if right[0] else gap}
    half = Formula(operator.floordiv, (gap, 2))
    rest = Formula(operator.sub, (gap, half))
    if left == (total[0] // 2, total[1] // 2):
        return {paths[0]: half, paths[1]: rest}
    if right == (total[0] // 2, total[1] // 2):
        return {paths[0]: rest, paths[1]: half}
    return {}


def _is_padding(node: fx.Node) -> bool:
    return (
        node.op == "call_function"
        and "pad" in base_name(node)
        and len(node.args) > 1
        and isinstance(node.args[0], fx.Node)
        and isinstance(node.args[1], list | tuple)
    )


def _put(node: fx.Node, path: Path, value: Any) -> None:
    """Put a value at a place in the arguments of a node."""

    def change(old: Any, keys: Path) -> Any:
        if not keys:
            return value
        key, rest = keys[0], keys[1:]
        if isinstance(old, dict):
            return {k: change(v, rest) if k == key else v for k, v in old.items()}
        changed = [change(v, rest) if i == key else v for i, v in enumerate(old)]
        return tuple(changed) if isinstance(old, tuple) else changed

    if path[0] == "args":
        node.args = change(node.args, path[1:])
    else:
        node.kwargs = change(node.kwargs, path[1:])


def _relax(node: fx.Node) -> None:
    """Leave out padding by nothing, and resizing to the same size, when the graph runs."""
    wide = len(node.args) > 1 and isinstance(node.args[1], list | tuple) and not node.kwargs
    if _is_padding(node) and wide:
        _wrap(node, pad_if_needed)
    elif node.op == "call_function" and base_name(node).startswith("upsample") and wide:
        _wrap(node, resize_if_needed)


def _wrap(node: fx.Node, function: Callable[..., Tensor]) -> None:
    target: Any = node.target
    node.args = (target, *node.args)
    node.target = function
