"""A space as a box of real numbers, for optimisers of continuous functions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64

from leanline.tuning.compiled.gate import PENALTY
from leanline.tuning.problem import Problem
from leanline.tuning.space import SearchSpace


class Box:
    """The positions of the values in their lists, in units of 1 / the longest list.

    A parameter with n values takes 0, 1/N, ..., (n - 1)/N, N the largest number of values of any
    parameter; a point stands for the nearest configuration. Parameters with one value have no
    coordinate.

    Attributes:
        bounds: Lowest and highest coordinate, a pair a parameter that has a choice.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._free = np.flatnonzero(space.sizes > 1)
        self._last = space.sizes[self._free] - 1
        self._strides = space.strides[self._free]
        self._unit = 1.0 / float(space.sizes.max())
        self.bounds = [(0.0, float(last * self._unit)) for last in self._last]

    def code(self, point: Float64[np.ndarray, "coordinates"]) -> int:
        """The configuration nearest to a point, inside the box or outside."""
        # a line search may come up with anything
        finite = np.nan_to_num(np.asarray(point, dtype=np.float64) / self._unit)
        digits = np.clip(np.rint(finite), 0, self._last).astype(np.int64)
        return int(digits @ self._strides)

    def random(self, rng: np.random.Generator) -> Float64[np.ndarray, "coordinates"]:
        """A point drawn from the box."""
        low, high = np.array(self.bounds).T
        return np.asarray(rng.uniform(low, high), dtype=np.float64)

    def function(self, problem: Problem) -> Callable[[Float64[np.ndarray, "coordinates"]], float]:
        """The time at a point in ms; a failure counts as 1e10 ms, as in the paper."""

        def time(point: Float64[np.ndarray, "coordinates"]) -> float:
            return min(problem.evaluate(self.code(point)), PENALTY)

        return time


def evaluate_only_one(problem: Problem, box: Box) -> bool:
    """Where no parameter has a choice, evaluate the one configuration and return True."""
    if box.bounds:
        return False
    problem.evaluate(0)
    return True
