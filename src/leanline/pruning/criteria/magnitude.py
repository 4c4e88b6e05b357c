"""Structured magnitude pruning."""

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
class Magnitude(Criterion):
    """Structured magnitude pruning: filters by their L1 norm (section 4.3.2).

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
        """Filters by the sum of the absolute values of their entries, largest first."""
        scores = [
            tensors[block.name].detach().double().abs().flatten(2).sum(2).reshape(-1).cpu().numpy()
            for block in graph.filters
        ]
        return ranked(graph, np.concatenate(scores), self.scope, limit)
