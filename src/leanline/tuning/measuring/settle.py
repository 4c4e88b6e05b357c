"""Which of the fastest configurations is named: they are measured again, in turn."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from leanline.tuning.measuring.outcome import Outcome
from leanline.tuning.measuring.sampled import Sampled


@dataclass(frozen=True)
class Spread:
    """Times of one configuration, ms.

    Attributes:
        median: Their median.
        quartiles: Their quartiles.
        interval: A confidence interval (95 %) of the median.
        runs: How many there are.
    """

    median: float
    quartiles: tuple[float, float]
    interval: tuple[float, float]
    runs: int


def settle(
    objective: Sampled,
    codes: Int64[np.ndarray, "evaluations"],
    times: Float64[np.ndarray, "evaluations"],
) -> dict[int, Spread]:
    """Measure the leaders again, one run of each in turn, so that noise hits all of them alike.

    A leader that now fails makes place for the next ones.

    Args:
        objective: What measures.
        codes: What was evaluated.
        times: The times of that, ms; infinite where it failed.

    Returns:
        What came of it, by code, the fastest first; empty where nothing ran or the objective's
        policy has no leaders.
    """
    order = np.argsort(times, kind="stable")
    ran = [int(codes[at]) for at in order if np.isfinite(times[at])]
    most = objective.policy.leaders if objective.policy.rounds else 0
    while ran and most:
        outcomes = objective.in_turn(ran[:most])
        alive = {code: spread(each) for code, each in outcomes.items() if not each.failure}
        if alive:
            return dict(sorted(alive.items(), key=lambda item: item[1].median))
        ran = ran[most:]
    return {}


def spread(outcome: Outcome) -> Spread:
    """Sum up the times of a configuration that ran."""
    return Spread(outcome.time, quartiles(outcome.samples), outcome.interval, len(outcome.samples))


def quartiles(samples: Sequence[float]) -> tuple[float, float]:
    """The quartiles of times; of a single one, it twice."""
    if len(samples) == 1:
        return samples[0], samples[0]
    low, _, high = statistics.quantiles(samples, n=4, method="inclusive")
    return low, high
