"""Every configuration once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from leanline.tuning.optimisers.base import SteppingOptimiser
from leanline.tuning.problem import Problem


@dataclass(frozen=True)
class BruteForce(SteppingOptimiser):
    """Every valid configuration once.

    In random order: what disturbs a device for a while then disturbs no one region of the space.
    """

    def search(self, problem: Problem, rng: np.random.Generator) -> Any:
        """Evaluate all of them, or as many as the budget allows."""
        codes = problem.allowed()
        if codes is None:
            codes = np.arange(problem.space.cartesian_size, dtype=np.int64)
        for code in rng.permutation(codes):
            problem.evaluate(int(code))
