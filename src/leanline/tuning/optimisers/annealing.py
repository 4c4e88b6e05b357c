"""Simulated annealing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from leanline.tuning.compiled.local_search import annealing
from leanline.tuning.optimisers.base import CompiledOptimiser, CompiledSearch
from leanline.tuning.optimisers.checks import above_zero, at_least, changes_of, choose
from leanline.tuning.space import SearchSpace


@dataclass(frozen=True)
class SimulatedAnnealing(CompiledOptimiser):
    """Jumps, climbs, and accepts worse results with a probability that sinks.

    A result that is worse by d ms is accepted with probability exp(-d / T); T falls from `hot` to
    `cold` in equal ratios. The defaults are the paper's: for kernels of milliseconds `hot` lets
    nearly everything through that runs at all.

    Attributes:
        explore: Changes of a jump, as a share of `SearchSpace.bits`.
        climb: What follows a jump: a climb to the first better neighbours, or none.
        hot: First temperature, ms.
        cold: Last temperature, ms.
        steps: Number of temperatures; afterwards the last one stays.
    """

    explore: float = 0.1
    climb: Literal["first", "none"] = "first"
    hot: float = 1e7
    cold: float = 1e-5
    steps: int = 10_000

    def __post_init__(self) -> None:
        """Check the settings; raises ConfigError."""
        above_zero(self, explore=self.explore, cold=self.cold)
        at_least(self, self.cold, hot=self.hot)
        at_least(self, 1, steps=self.steps)

    def compiled(self, space: SearchSpace) -> tuple[CompiledSearch, list[float]]:
        """Return the search and its settings."""
        climbs = choose(self, "climb", self.climb, {"first": 1, "none": 0})
        changes = changes_of(self.explore, space.bits)
        return annealing, [changes, climbs, self.hot, self.cold, self.steps]
