"""Dual annealing, by SciPy."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import scipy.optimize

from leanline.tuning.optimisers.base import SteppingOptimiser
from leanline.tuning.optimisers.box import Box, evaluate_only_one
from leanline.tuning.problem import Problem


@dataclass(frozen=True)
class DualAnnealing(SteppingOptimiser):
    """SciPy's `dual_annealing` on the box of positions.

    A run ends after 1,000 look-ups in a row that bring nothing new, or 20,000 in all.

    Attributes:
        method: SciPy's name of the local minimiser.
    """

    method: str = "Powell"

    def search(self, problem: Problem, rng: np.random.Generator) -> None:
        """Search until the problem ends it."""
        box = Box(problem.space)
        if evaluate_only_one(problem, box):
            return
        with warnings.catch_warnings():
            # steps of zero are no surprise on a function of steps
            warnings.simplefilter("ignore", RuntimeWarning)
            scipy.optimize.dual_annealing(
                box.function(problem),
                box.bounds,
                maxiter=10**6,
                minimizer_kwargs={"method": self.method},
                rng=rng,
            )
