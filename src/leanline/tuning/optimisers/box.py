"""A space as a box of real numbers, for optimisers of continuous functions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64

from leanline.tuning.compiled.gate import IDLE, LOOKUPS, PENALTY
from leanline.tuning.problem import Problem, SearchEnded
from leanline.tuning.space import SearchSpace

IDLE_LIMIT = 1_000
"""Look-ups in a row that bring nothing new, after which a run ends: some ten local searches."""

LOOKUP_LIMIT = 20_000
"""Look-ups after which a run ends; the paper's runs end after 20 seconds, in which BlooPy's basin
hopping makes about as many."""


class Box:
    """A cell for every configuration, 1 / N wide along each coordinate.

    N is the largest number of values of any parameter; a parameter with n values spans 0 to n / N.
    A point outside the box stands for the nearest cell. Parameters with one value have no
    coordinate.

    Attributes:
        bounds: Lowest and highest coordinate, a pair a parameter that has a choice.
        unit: Width of a cell.
    """

    def __init__(self, space: SearchSpace) -> None:
        free = np.flatnonzero(space.sizes > 1)
        self.unit = 1.0 / float(space.sizes.max())
        self.bounds = [(0.0, float(size * self.unit)) for size in space.sizes[free]]
        self._per_unit = float(space.sizes.max())
        last = (space.sizes[free] - 1).tolist()
        self._axes = list(zip(last, space.strides[free].tolist(), strict=True))

    def code(self, point: Float64[np.ndarray, "coordinates"]) -> int:
        """The configuration of the nearest cell; what is not a number counts as 0."""
        code = 0
        for value, (last, stride) in zip(point.tolist(), self._axes, strict=True):
            position = value * self._per_unit
            if position >= last:
                code += last * stride
            elif position >= 1.0:
                code += int(position) * stride
        return code

    def middle(self, rng: np.random.Generator) -> Float64[np.ndarray, "coordinates"]:
        """A point about the middle; the standard deviation is a hundredth of the box's width."""
        width = np.array(self.bounds)[:, 1]
        return np.asarray(width / 2 + width / 100 * rng.standard_normal(len(width)))

    def function(self, problem: Problem) -> Callable[[Float64[np.ndarray, "coordinates"]], float]:
        """The time at a point in ms; a failure counts as 1e10 ms, as in the paper.

        It ends the search after `IDLE_LIMIT` and `LOOKUP_LIMIT`.
        """
        state = problem.gate.state

        def time(point: Float64[np.ndarray, "coordinates"]) -> float:
            if state[IDLE] >= IDLE_LIMIT or state[LOOKUPS] >= LOOKUP_LIMIT:
                raise SearchEnded
            return min(problem.evaluate(self.code(point)), PENALTY)

        return time


def evaluate_only_one(problem: Problem, box: Box) -> bool:
    """Where no parameter has a choice, evaluate the one configuration and return True."""
    if box.bounds:
        return False
    problem.evaluate(0)
    return True
