"""Rules that say in which order filters are kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from leanline.graph import ChainOrder, PruningGraph


class Criterion(ABC):
    """A rule that ranks the prunable filters of a network."""

    @abstractmethod
    def order(
        self, graph: PruningGraph, tensors: Mapping[str, Tensor], limit: int
    ) -> Int[np.ndarray, "_"]:
        """Ids of the first `limit` filters to keep, best first.

        A smaller limit must give a prefix of what a larger one gives. With a limit of
        `graph.num_filters` every filter appears once.

        Args:
            graph: The pruning graph.
            tensors: Parameters by name, with pruned filters at zero.
            limit: How many filters are wanted.
        """


@dataclass(frozen=True)
class Lean(Criterion):
    """LEAN: filters of the longest chains first (Algorithm 2)."""

    def order(
        self, graph: PruningGraph, tensors: Mapping[str, Tensor], limit: int
    ) -> Int[np.ndarray, "_"]:
        """Filters in the order in which longest chains take them."""
        if graph not in _CHAINS:
            _CHAINS[graph] = ChainOrder(graph.channels)
        chains, total = _CHAINS[graph], graph.channels.num_prunable
        wanted = limit
        while True:  # a shared filter is on several edges
            found = graph.filter_order(chains.order(wanted))
            if found.size >= limit or wanted >= total:
                return found[:limit]
            wanted = min(total, max(2 * wanted, 1))


# Chain orders of graphs that are alive, so that a longer order continues a shorter one.
_CHAINS: WeakKeyDictionary[PruningGraph, ChainOrder] = WeakKeyDictionary()


@dataclass(frozen=True)
class Magnitude(Criterion):
    """Structured magnitude pruning: filters by their L1 norm, globally (section 4.3.2)."""

    def order(
        self, graph: PruningGraph, tensors: Mapping[str, Tensor], limit: int
    ) -> Int[np.ndarray, "_"]:
        """Filters by the sum of the absolute values of their entries, largest first."""
        scores = [
            tensors[block.name].detach().double().abs().flatten(2).sum(2).reshape(-1).cpu().numpy()
            for block in graph.filters
        ]
        return _largest_first(np.concatenate(scores), limit)


@dataclass(frozen=True)
class OperatorNorm(Criterion):
    """Operator norm pruning: filters by the weight of their edge, globally (section 4.5.1).

    The weights are those that LEAN sees, with the batch norm that follows a convolution folded in.
    """

    def order(
        self, graph: PruningGraph, tensors: Mapping[str, Tensor], limit: int
    ) -> Int[np.ndarray, "_"]:
        """Filters by their operator norm, largest first."""
        scores = np.full(graph.num_filters, -np.inf)
        prunable = graph.edge_filter >= 0
        weights = graph.channels.edges().log_weight[prunable]
        np.maximum.at(scores, graph.edge_filter[prunable], weights)
        return _largest_first(scores, limit)


def _largest_first(scores: Float[np.ndarray, "filters"], limit: int) -> Int[np.ndarray, "_"]:
    """Ids by falling score, lower ids first among equals."""
    return np.argsort(-scores, kind="stable")[:limit].astype(np.int64)
