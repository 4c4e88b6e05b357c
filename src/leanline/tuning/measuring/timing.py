"""How often a configuration is run before its time is believed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from leanline.errors import ConfigError

CONFIDENCE = 0.95
"""Of the intervals of medians."""

FEWEST = 3
"""Runs of a configuration however long they take."""


@dataclass(frozen=True)
class TimingPolicy:
    """When to stop repeating, and when to give up.

    A configuration is repeated until the confidence interval of its median reaches no further than
    `narrow` from the median, or a limit is reached.

    Attributes:
        warm_up: Runs that are not counted, after the one whose output is checked.
        least: Runs before the interval is looked at; six are needed for one.
        most: Runs at most.
        narrow: Half of the interval's width, as a share of the median.
        seconds: Time for repeating one configuration, after which it ends (but not before three
            runs).
        compile_limit: Seconds that a compilation may take.
        run_limit: Seconds that one run may take. Some drivers compile in the first.
        leaders: Configurations that are measured again, in turn, before the fastest is named.
        rounds: Runs of each of them.
    """

    warm_up: int = 1
    least: int = 7
    most: int = 100
    narrow: float = 0.02
    seconds: float = 1.0
    compile_limit: float = 60.0
    run_limit: float = 60.0
    leaders: int = 5
    rounds: int = 21

    def __post_init__(self) -> None:
        """Check it; raises ConfigError."""
        positive = {
            name: getattr(self, name)
            for name in ("least", "most", "narrow", "seconds", "compile_limit", "run_limit")
        }
        for name, value in positive.items():
            if not value > 0:
                raise ConfigError(f"TimingPolicy({name}={value}): more than 0 is wanted")
        if self.most < self.least or min(self.warm_up, self.leaders, self.rounds) < 0:
            raise ConfigError(f"{self}: most is below least, or a number below 0")

    def is_enough(self, samples: Sequence[float], seconds: float) -> bool:
        """Whether a configuration with these times, in `seconds` of repeating, is done."""
        count = len(samples)
        if count >= self.most or (seconds >= self.seconds and count >= FEWEST):
            return True
        if count < self.least:
            return False
        low, high = median_interval(samples)
        middle = sorted(samples)[count // 2]
        return max(high - middle, middle - low) <= self.narrow * middle


def median_interval(samples: Sequence[float]) -> tuple[float, float]:
    """Return a confidence interval (95 %) of the median that holds for any distribution.

    It goes from one order statistic to another, with the ranks that the binomial distribution gives
    (David and Nagaraja, Order Statistics, 7.1).

    Returns:
        Its ends; infinitely far where there are fewer than six samples, which have none.
    """
    rank = _rank(len(samples))
    if rank == 0:
        return -math.inf, math.inf
    ordered = sorted(samples)
    return ordered[rank - 1], ordered[-rank]


@cache
def _rank(count: int) -> int:
    """The largest r such that the r-th and the r-th last sample enclose the median; 0: none."""
    outside, rank = 0.0, 0
    while rank < count // 2:
        outside += 2 * math.comb(count, rank) / 2**count
        if outside > 1 - CONFIDENCE:
            break
        rank += 1
    return rank
