"""What came of measuring one configuration."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from leanline.tuning.measuring.timing import median_interval

REASONS = ("compile", "runtime", "correctness", "timeout", "crash")
"""Why a configuration fails: it does not compile, cannot be launched, gives a wrong output, takes
too long, or takes its process along."""


@dataclass(frozen=True)
class Outcome:
    """A configuration's times, or why it failed.

    Attributes:
        samples: Times of single runs, ms, in the order in which they were made.
        failure: One of `REASONS`; empty where it ran.
        detail: What the compiler, the driver or the check said.
    """

    samples: tuple[float, ...] = ()
    failure: str = ""
    detail: str = ""

    @property
    def time(self) -> float:
        """The median of the samples, ms; infinite where it failed."""
        return math.inf if self.failure or not self.samples else statistics.median(self.samples)

    @property
    def interval(self) -> tuple[float, float]:
        """A confidence interval of the median, ms; see `median_interval`."""
        return median_interval(self.samples)
