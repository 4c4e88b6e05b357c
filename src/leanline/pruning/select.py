"""Choose the filters to keep."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import SupportsFloat

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from leanline.errors import ConfigError, ModelError
from leanline.graph import (
    Ignore,
    Liveness,
    PruningGraph,
    fewest_filters,
    find_live,
    strongest_path,
)
from leanline.pruning.criteria import Criterion, Lean
from leanline.pruning.tracing import trace
from leanline.types import ExampleInputs

_log = logging.getLogger(__name__)

_SLACK = 0.01  # of the target: as near as the number of live filters has to come
_PASSES = 64  # filters that may be taken before the others for it


def select(
    model: nn.Module,
    example_inputs: ExampleInputs,
    keep: float,
    criterion: Criterion | None = None,
    ignore: Ignore = (),
    refill: bool = True,
) -> dict[str, Bool[Tensor, "_ _"]]:
    """Choose the filters of a network that stay.

    Filters that are masked already stay pruned; the count is against the unpruned network.

    Args:
        model: The network; not touched.
        example_inputs: A tensor or a tuple of tensors, as the model is called with.
        keep: Fraction of the prunable filters that remain, in (0, 1].
        criterion: The rule; `Lean()` by default.
        ignore: Module names, patterns or modules whose convolutions are not pruned.
        refill: Go on until the filters that are alive, on a path from an input to an output, reach
            the count, to within one per cent, and return those. A filter that brings more to life
            than that is taken before the others. False: the thesis's way, the first filters in
            order, some of which `clean` then finds dead.

    Returns:
        For each prunable weight, by name, a boolean tensor of weight.shape[:2], True = kept.

    Raises:
        ConfigError: If `keep` is outside (0, 1] or leaves fewer live filters than any path through
            the network has, `criterion` is none, or an entry of `ignore` matches nothing.
        ModelError: If the model cannot be traced, nothing can be pruned, or its masks leave no path
            from an input to an output.
    """
    rule = criterion if criterion is not None else Lean()
    fraction = _checked(keep, rule)
    flags = choose(trace(model, example_inputs, ignore), fraction, rule, refill)
    return {name: torch.from_numpy(matrix.copy()) for name, matrix in flags.items()}


def choose(
    graph: PruningGraph, keep: float, criterion: Criterion, refill: bool = True
) -> dict[str, Bool[np.ndarray, "_ _"]]:
    """Choose the filters of a pruning graph that stay: `select`, for a network that is traced.

    Raises:
        ConfigError: As `select`.
        ModelError: If no path is left from an input to an output.
    """
    fraction = _checked(keep, criterion)
    selector = _Selector(graph, criterion)
    if refill:
        flags = selector.refilled(fitting_count(graph, fraction))
    else:
        flags = selector.raw(max(1, round(fraction * graph.num_filters)))
    return graph.matrices(flags)


def _checked(keep: object, criterion: object) -> float:
    fraction = float(keep) if isinstance(keep, SupportsFloat) else math.nan
    if isinstance(keep, bool) or not 0 < fraction <= 1:
        raise ConfigError(f"keep is {keep!r}: give a fraction above 0 and at most 1")
    if not isinstance(criterion, Criterion):
        raise ConfigError(f"criterion is {criterion!r}: give a criterion, such as Lean()")
    return fraction


def fitting_count(graph: PruningGraph, keep: float) -> int:
    """How many filters are to live.

    Raises:
        ConfigError: If that is less than any path through the network has.
    """
    target = round(keep * graph.num_filters)
    program = graph.program
    prunable = {block.name for block in graph.filters}
    kept = {name: mask.cpu().numpy() for name, mask in program.kept.items()}
    fewest = fewest_filters(program, kept, prunable)
    if fewest > target and fewest < math.inf:  # without any path, the selector says so
        raise ConfigError(
            f"keep is {keep}, that is {target} of {graph.num_filters:,} filters, but every path "
            f"from an input to an output has at least {int(fewest)}: give a keep of at least "
            f"{math.ceil(1e6 * fewest / graph.num_filters) / 1e6:g}"
        )
    return max(1, target)


class _Selector:
    """Prefixes of a criterion's order, and what of them is alive."""

    def __init__(self, graph: PruningGraph, criterion: Criterion) -> None:
        self._graph = graph
        self._criterion = criterion
        self._available = int(graph.allowed.sum())
        self._order = np.empty(0, dtype=np.int64)
        prunable = {block.name for block in graph.filters}
        program = graph.program
        self._untouched = frozenset(
            operation.parameters["weight"]
            for operation in program.operations
            if operation.kind == "convolution" and operation.parameters["weight"] not in prunable
        )
        self._fixed: Mapping[str, np.ndarray] = {
            name: mask.cpu().numpy() for name, mask in program.kept.items() if name not in prunable
        }

    def raw(self, target: int) -> Bool[np.ndarray, "filters"]:
        """The first filters in order, and a path through the network if they hold none."""
        flags = self._flags(target)
        return flags if self._connected(self._live(flags)) else self._with_path(flags)

    def refilled(self, target: int) -> Bool[np.ndarray, "filters"]:
        """The live filters of the smallest prefix that has `target` of them.

        The filter that completes a prefix may bring many to life at once that were selected before
        it. Where that overshoots the target by more than `_SLACK`, it moves to the front, for they
        all depend on it, and the smallest prefix is looked for again.
        """
        front: list[int] = []
        flags, least = self._flags(self._available), math.inf
        for _ in range(_PASSES):
            count = self._smallest(front, target)
            reached = self._flags(count, front)
            over = self._alive(reached) - target
            if 0 <= over < least:
                flags, least = reached, over
            if over <= _SLACK * target or count == 0:
                break
            front.append(int(self._first(count)[-1]))
        live = self._live(flags)
        if not self._connected(live):
            live = self._live(self._with_path(flags))
        found = self._graph.flags(live.filters)
        if int(found.sum()) < target:
            _log.info("only %d of %d filters can be alive", int(found.sum()), target)
        return found

    def _smallest(self, front: Sequence[int], target: int) -> int:
        """How many filters in order it takes, beside those in front, until `target` are alive."""
        low, high = -1, min(target, self._available)
        while high < self._available and self._alive(self._flags(high, front)) < target:
            low, high = high, min(2 * high, self._available)
        while high - low > 1:  # more filters never make a live one dead
            middle = (low + high) // 2
            enough = self._alive(self._flags(middle, front)) >= target
            low, high = (low, middle) if enough else (middle, high)
        return high

    def _flags(self, count: int, front: Sequence[int] = ()) -> Bool[np.ndarray, "filters"]:
        flags = np.zeros(self._graph.num_filters, dtype=bool)
        flags[self._first(count)] = True
        flags[list(front)] = True
        return flags

    def _first(self, count: int) -> Int[np.ndarray, "_"]:
        """The first `count` filters in order among those that are not pruned yet."""
        count = min(count, self._available)
        limit = count
        while self._order.size < count:
            found = self._criterion.order(self._graph, self._graph.program.tensors, limit)
            self._order = found[self._graph.allowed[found]]
            if limit >= self._graph.num_filters:
                break
            limit = min(2 * limit, self._graph.num_filters)
        return self._order[:count]

    def _live(self, flags: Bool[np.ndarray, "filters"]) -> Liveness:
        kept = {**self._fixed, **self._graph.matrices(flags)}
        return find_live(self._graph.program, kept, self._untouched)

    def _alive(self, flags: Bool[np.ndarray, "filters"]) -> int:
        return int(self._graph.flags(self._live(flags).filters).sum())

    def _connected(self, live: Liveness) -> bool:
        """Whether an input still reaches an output."""
        operations = self._graph.program.operations
        inputs = [operation.index for operation in operations if operation.kind == "input"]
        return any(bool(live.channels[index].any()) for index in inputs)

    def _with_path(self, flags: Bool[np.ndarray, "filters"]) -> Bool[np.ndarray, "filters"]:
        edges = strongest_path(self._graph)
        ids = self._graph.edge_filter[edges]
        ids = ids[ids >= 0]
        if not edges.size or not self._graph.allowed[ids].all():
            raise ModelError(
                "no path of filters that are not zero leads from an input to an output: "
                "the network is cut in two already"
            )
        _log.warning(
            "the selection leaves no path from input to output: the strongest chain, %d filters, "
            "is kept as well",
            ids.size,
        )
        flags = flags.copy()
        flags[ids] = True
        low, high = -1, self._available
        while high - low > 1:  # a gate needs a path to each factor: filters in order until it is so
            middle = (low + high) // 2
            found = self._connected(self._live(flags | self._flags(middle)))
            low, high = (low, middle) if found else (middle, high)
        return np.asarray(flags | self._flags(high))
