"""Basin hopping, by SciPy."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.optimize

from leanline.tuning.optimisers.base import SteppingOptimiser
from leanline.tuning.optimisers.box import Box, evaluate_only_one
from leanline.tuning.optimisers.checks import above_zero, one_of
from leanline.tuning.problem import Problem

METHODS = ("Nelder-Mead", "Powell", "CG", "L-BFGS-B", "COBYLA", "SLSQP", "BFGS")


@dataclass(frozen=True)
class BasinHopping(SteppingOptimiser):
    """SciPy's `basinhopping` on the box of positions, from about its middle.

    The first steps of COBYLA and the finite differences of the methods with gradients are as wide
    as a configuration's cell; COBYLA ends at an eighth of it. A run ends after 1,000 look-ups in a
    row that bring nothing new, or 20,000 in all.

    Attributes:
        method: SciPy's name of the local minimiser.
        temperature: Worsening in ms that is accepted with probability 1/e.
    """

    method: str = "COBYLA"
    temperature: float = 0.1

    def __post_init__(self) -> None:
        """Check the settings; raises ConfigError."""
        one_of(self, "method", self.method, METHODS)
        above_zero(self, temperature=self.temperature)

    def search(self, problem: Problem, rng: np.random.Generator) -> None:
        """Search until the problem ends it."""
        box = Box(problem.space)
        if evaluate_only_one(problem, box):
            return
        with warnings.catch_warnings():
            # steps of zero are no surprise on a function of steps
            warnings.simplefilter("ignore", RuntimeWarning)
            scipy.optimize.basinhopping(
                box.function(problem),
                box.middle(rng),
                niter=10**6,
                T=self.temperature,
                minimizer_kwargs=self._minimiser(box),
                rng=rng,
            )

    def _minimiser(self, box: Box) -> dict[str, Any]:
        asked: dict[str, Any] = {"method": self.method}
        if self.method == "COBYLA":
            asked |= {"options": {"rhobeg": box.unit}, "tol": box.unit / 8}
        elif self.method in ("CG", "BFGS", "L-BFGS-B", "SLSQP"):
            asked["options"] = {"eps": box.unit}
        if self.method in ("L-BFGS-B", "SLSQP"):
            asked["bounds"] = box.bounds
        return asked
