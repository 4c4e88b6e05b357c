"""Tabu search: move on, even to something worse, but not back."""

from __future__ import annotations

from dataclasses import dataclass

from leanline.tuning.compiled.local_search import tabu
from leanline.tuning.compiled.moves import CLIMBS, NEIGHBOURHOODS
from leanline.tuning.optimisers.base import CompiledOptimiser, CompiledSearch
from leanline.tuning.optimisers.checks import at_least, choose
from leanline.tuning.space import Neighbourhood, SearchSpace


@dataclass(frozen=True)
class FirstTabu(CompiledOptimiser):
    """Moves to the first better neighbour, and where none is better to the best, unless tabu.

    Attributes:
        tabu_size: How many visits back a configuration is tabu.
        neighbourhood: Which configurations are neighbours.
    """

    tabu_size: int = 2000
    neighbourhood: Neighbourhood = "hamming"

    def __post_init__(self) -> None:
        """Check the settings; raises ConfigError."""
        at_least(self, 1, tabu_size=self.tabu_size)

    def compiled(self, space: SearchSpace) -> tuple[CompiledSearch, list[float]]:
        """Return the search and its settings."""
        hood = choose(self, "neighbourhood", self.neighbourhood, NEIGHBOURHOODS)
        return tabu, [hood, CLIMBS["first-restart"], self.tabu_size]


@dataclass(frozen=True)
class BestTabu(CompiledOptimiser):
    """Moves to the best neighbour that is not tabu, better or worse.

    Attributes:
        tabu_size: How many visits back a configuration is tabu.
        neighbourhood: Which configurations are neighbours.
    """

    tabu_size: int = 2000
    neighbourhood: Neighbourhood = "hamming"

    def __post_init__(self) -> None:
        """Check the settings; raises ConfigError."""
        at_least(self, 1, tabu_size=self.tabu_size)

    def compiled(self, space: SearchSpace) -> tuple[CompiledSearch, list[float]]:
        """Return the search and its settings."""
        hood = choose(self, "neighbourhood", self.neighbourhood, NEIGHBOURHOODS)
        return tabu, [hood, CLIMBS["best"], self.tabu_size]
