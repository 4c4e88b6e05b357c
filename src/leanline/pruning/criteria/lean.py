"""The thesis's rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import Int
from torch import Tensor

from leanline.graph import ChainOrder, PruningGraph
from leanline.pruning.criteria.base import Criterion


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
