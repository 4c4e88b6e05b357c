"""Basin hopping, by SciPy."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import scipy.optimize

from leanline.tuning.optimisers.base import SteppingOptimiser
from leanline.tuning.optimisers.box import Box, evaluate_only_one
from leanline.tuning.optimisers.checks import above_zero
from leanline.tuning.problem import Problem


@dataclass(frozen=True)
class BasinHopping(SteppingOptimiser):
    """SciPy's `basinhopping` on the box of positions, from a random point.

    Attributes:
        method: SciPy's name of the local minimiser.
        temperature: Worsening in ms that is accepted with probability 1/e.
    """

    method: str = "COBYLA"
    temperature: float = 0.1

    def __post_init__(self) -> None:
        """Check the settings; raises ConfigError."""
        above_zero(self, temperature=self.temperature)

    def search(self, problem: Problem, rng: np.random.Generator) -> None:
        """Search until the problem ends it."""
        box = Box(problem.space)
        while not evaluate_only_one(problem, box):
            with warnings.catch_warnings():
                # steps of zero are no surprise on a function of steps
                warnings.simplefilter("ignore", RuntimeWarning)
                scipy.optimize.basinhopping(
                    box.function(problem),
                    box.random(rng),
                    niter=10**6,
                    T=self.temperature,
                    minimizer_kwargs={"method": self.method},
                    rng=rng,
                )
