"""Iterated local search: climb, jump from the best, climb again."""

from __future__ import annotations

from dataclasses import dataclass

from leanline.tuning.compiled.local_search import iterated
from leanline.tuning.compiled.moves import CLIMBS, NEIGHBOURHOODS
from leanline.tuning.optimisers.base import CompiledOptimiser, CompiledSearch
from leanline.tuning.optimisers.checks import above_zero, at_least, changes_of, choose
from leanline.tuning.optimisers.multi_start import FirstRule
from leanline.tuning.space import Neighbourhood, SearchSpace


@dataclass(frozen=True)
class FirstILS(CompiledOptimiser):
    """Iterated local search whose climbs move to the first better neighbour.

    Attributes:
        walk: Changes of a jump, as a share of `SearchSpace.bits`.
        no_improve: Climbs in vain after which one begins at random instead.
        neighbourhood: Which configurations are neighbours.
        after_move: What a climb does after a move.
    """

    walk: float = 0.05
    no_improve: int = 10
    neighbourhood: Neighbourhood = "adjacent"
    after_move: FirstRule = "restart"

    def __post_init__(self) -> None:
        """Check the settings; raises ConfigError."""
        above_zero(self, walk=self.walk)
        at_least(self, 1, no_improve=self.no_improve)

    def compiled(self, space: SearchSpace) -> tuple[CompiledSearch, list[float]]:
        """Return the search and its settings."""
        hood = choose(self, "neighbourhood", self.neighbourhood, NEIGHBOURHOODS)
        rule = choose(self, "after_move", f"first-{self.after_move}", CLIMBS)
        return iterated, [hood, rule, changes_of(self.walk, space.bits), self.no_improve]


@dataclass(frozen=True)
class BestILS(CompiledOptimiser):
    """Iterated local search whose climbs move to the best of all neighbours.

    Attributes:
        walk: Changes of a jump, as a share of `SearchSpace.bits`.
        no_improve: Climbs in vain after which one begins at random instead.
        neighbourhood: Which configurations are neighbours.
    """

    walk: float = 0.05
    no_improve: int = 25
    neighbourhood: Neighbourhood = "adjacent"

    def __post_init__(self) -> None:
        """Check the settings; raises ConfigError."""
        above_zero(self, walk=self.walk)
        at_least(self, 1, no_improve=self.no_improve)

    def compiled(self, space: SearchSpace) -> tuple[CompiledSearch, list[float]]:
        """Return the search and its settings."""
        hood = choose(self, "neighbourhood", self.neighbourhood, NEIGHBOURHOODS)
        changes = changes_of(self.walk, space.bits)
        return iterated, [hood, CLIMBS["best"], changes, self.no_improve]
