"""Random sampling."""

from __future__ import annotations

from dataclasses import dataclass

from leanline.tuning.compiled.local_search import random_sampling
from leanline.tuning.optimisers.base import CompiledOptimiser, CompiledSearch
from leanline.tuning.space import SearchSpace


@dataclass(frozen=True)
class RandomSampling(CompiledOptimiser):
    """Configurations drawn at random, none twice."""

    def compiled(self, space: SearchSpace) -> tuple[CompiledSearch, list[float]]:
        """Return the search; it has no settings."""
        return random_sampling, []
