"""Pruning at random, the least that a rule has to beat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from torch import Tensor

from leanline.errors import ConfigError
from leanline.graph import PruningGraph
from leanline.pruning.criteria.base import Criterion
from leanline.pruning.criteria.ranking import Scope, check_scope, ranked


@dataclass(frozen=True)
class Random(Criterion):
    """Filters in an order that the seed alone decides.

    Attributes:
        seed: Of the order; the same in all stages.
        scope: "global" or "layer", the same fraction of every layer.

    Raises:
        ConfigError: A negative seed, or another scope.
    """

    seed: int = 0
    scope: Scope = "global"

    def __post_init__(self) -> None:
        check_scope(self.scope, type(self).__name__)
        if self.seed < 0:
            raise ConfigError(f"Random(seed={self.seed}): give a seed of at least 0")

    def order(
        self, graph: PruningGraph, tensors: Mapping[str, Tensor], limit: int
    ) -> Int[np.ndarray, "_"]:
        """Filters by random scores."""
        scores = np.random.default_rng(self.seed).random(graph.num_filters)
        return ranked(graph, scores, self.scope, limit)
