"""Operator norm pruning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from torch import Tensor

from leanline.graph import PruningGraph
from leanline.pruning.criteria.base import Criterion
from leanline.pruning.criteria.ranking import Scope, check_scope, ranked


@dataclass(frozen=True)
class OperatorNorm(Criterion):
    """Operator norm pruning: filters by the weight of their edge (section 4.5.1).

    The weights are those that LEAN sees, with the batch norm that follows a convolution folded in.

    Attributes:
        scope: "global", the thesis's choice, compares all filters of the network; "layer" removes
            the same fraction of every layer.

    Raises:
        ConfigError: Another scope.
    """

    scope: Scope = "global"

    def __post_init__(self) -> None:
        check_scope(self.scope, type(self).__name__)

    def order(
        self, graph: PruningGraph, tensors: Mapping[str, Tensor], limit: int
    ) -> Int[np.ndarray, "_"]:
        """Filters by their operator norm, largest first."""
        scores = np.full(graph.num_filters, -np.inf)
        prunable = graph.edge_filter >= 0
        weights = graph.channels.edges().log_weight[prunable]
        np.maximum.at(scores, graph.edge_filter[prunable], weights)
        return ranked(graph, scores, self.scope, limit)
