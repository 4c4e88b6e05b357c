"""Differential evolution, by SciPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.optimize

from leanline.tuning.optimisers.base import SteppingOptimiser
from leanline.tuning.optimisers.box import Box, evaluate_only_one
from leanline.tuning.optimisers.checks import at_least
from leanline.tuning.problem import Problem


@dataclass(frozen=True)
class DifferentialEvolution(SteppingOptimiser):
    """SciPy's `differential_evolution` on the box of positions.

    A run ends when the population has converged, or after 1,000 look-ups in a row that bring
    nothing new, or 20,000 in all.

    Attributes:
        population: Members for each parameter; there are at least 5.
        strategy: SciPy's name of how a trial is made.
        mutation: Range of the mutation constant, drawn anew for each generation.
        recombination: Probability that a coordinate is the mutant's.
        tolerance: Spread of the population, relative to its mean, at which it has converged.
    """

    population: int = 4
    strategy: str = "best1bin"
    mutation: tuple[float, float] = (0.2, 0.7)
    recombination: float = 0.7
    tolerance: float = 1e-10

    def __post_init__(self) -> None:
        """Check the settings; raises ConfigError."""
        at_least(self, 1, population=self.population)

    def search(self, problem: Problem, rng: np.random.Generator) -> None:
        """Search until the problem ends it."""
        box = Box(problem.space)
        if evaluate_only_one(problem, box):
            return
        scipy.optimize.differential_evolution(
            box.function(problem),
            box.bounds,
            popsize=self.population,
            strategy=self.strategy,
            mutation=self.mutation,
            recombination=self.recombination,
            tol=self.tolerance,
            polish=False,
            maxiter=10**6,
            rng=rng,
        )
