"""Multi-start local search: climb from random configurations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from leanline.tuning.compiled.local_search import multi_start
from leanline.tuning.compiled.moves import CLIMBS, NEIGHBOURHOODS
from leanline.tuning.optimisers.base import CompiledOptimiser, CompiledSearch
from leanline.tuning.optimisers.checks import choose
from leanline.tuning.space import Neighbourhood, SearchSpace

FirstRule = Literal["restart", "continue"]
"""What a first-improvement climb does after a move. ``restart``: look at the new neighbours in a
new random order. ``continue``: go on through the old order."""


@dataclass(frozen=True)
class FirstMLS(CompiledOptimiser):
    """Climbs from random starts, each moving to the first better neighbour.

    Attributes:
        neighbourhood: Which configurations are neighbours.
        after_move: What a climb does after a move.
    """

    neighbourhood: Neighbourhood = "hamming"
    after_move: FirstRule = "restart"

    def compiled(self, space: SearchSpace) -> tuple[CompiledSearch, list[float]]:
        """Return the search and its settings."""
        hood = choose(self, "neighbourhood", self.neighbourhood, NEIGHBOURHOODS)
        rule = choose(self, "after_move", f"first-{self.after_move}", CLIMBS)
        return multi_start, [hood, rule]


@dataclass(frozen=True)
class BestMLS(CompiledOptimiser):
    """Climbs from random starts, each moving to the best of all neighbours.

    Attributes:
        neighbourhood: Which configurations are neighbours.
    """

    neighbourhood: Neighbourhood = "hamming"

    def compiled(self, space: SearchSpace) -> tuple[CompiledSearch, list[float]]:
        """Return the search and its settings."""
        hood = choose(self, "neighbourhood", self.neighbourhood, NEIGHBOURHOODS)
        return multi_start, [hood, CLIMBS["best"]]
