"""What a run evaluated, and what it found."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64, Int64

from leanline.tuning.measuring.settle import Spread
from leanline.tuning.space import SearchSpace, Value


@dataclass(frozen=True, eq=False)
class Trace:
    """One run of an optimiser.

    Attributes:
        space: Where it searched.
        codes: What was evaluated, in order, none twice.
        times: What was measured, ms; infinite where a configuration failed.
        best_code: The configuration that it returns; None: nothing ran.
        best_time: Its time in ms: of a replay the mean, else what was measured; infinite if none.
        optimum: The best time of the space, ms; not a number where that is not known.
        ended: Why the run ended.
        spreads: Of a kernel that is measured for real, what came of measuring the fastest
            configurations again, in turn: by code, the fastest first. `best_time` is the first
            one's median.
    """

    space: SearchSpace
    codes: Int64[np.ndarray, "evaluations"]
    times: Float64[np.ndarray, "evaluations"]
    best_code: int | None
    best_time: float
    optimum: float
    ended: str
    spreads: Mapping[int, Spread] = field(default_factory=dict)

    @property
    def evaluations(self) -> int:
        """Number of unique evaluations."""
        return len(self.codes)

    @property
    def best_config(self) -> dict[str, Value] | None:
        """The configuration that it returns; None where nothing ran."""
        return None if self.best_code is None else self.space.decode(self.best_code)

    @property
    def fraction_of_optimum(self) -> float:
        """Best time of the space / time of the returned configuration; 0 where nothing ran.

        Not a number where the best time of the space is not known.
        """
        return 0.0 if math.isinf(self.best_time) else self.optimum / self.best_time

    @property
    def best_so_far(self) -> Float64[np.ndarray, "evaluations"]:
        """The best of the measured times after each evaluation, ms."""
        return np.asarray(np.minimum.accumulate(self.times))
