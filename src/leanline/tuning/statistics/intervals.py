"""How sure a mean fraction of the optimum is: bootstrap intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float64
from scipy import stats

from leanline.errors import ConfigError
from leanline.tuning.statistics.cells import CELL, checked_runs

RESAMPLES = 2000
"""How often runs are drawn anew."""

_BATCH = 4_000_000
"""Values that are drawn at once."""


def bootstrap_intervals(
    table: pd.DataFrame, *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> pd.DataFrame:
    """Intervals of the mean fraction of the optimum of each optimiser, space and budget.

    They are bias-corrected and accelerated (B. Efron, "Better bootstrap confidence intervals",
    Journal of the American Statistical Association 82, 1987), by SciPy. Fractions are skewed and
    end at 1, where an interval of one standard deviation goes on.

    Args:
        table: A row a run, as `benchmark` returns it.
        level: How often such an interval holds the true mean.
        resamples: How often runs are drawn anew.
        seed: Equal seeds, equal intervals.

    Returns:
        Columns optimiser, space, budget, mean, low, high, runs. Where all runs are equal so are
        low and high; for a single run they are not numbers.

    Raises:
        ConfigError: The table, the level or the number of resamples is wrong; see `checked_runs`.
    """
    _check(level, resamples)
    groups = checked_runs(table).groupby(CELL, sort=False)["fraction"]
    found = groups.agg(mean="mean", runs="size").reset_index()
    samples = [group.to_numpy(np.float64) for _, group in groups]
    low, high = np.full(len(samples), np.nan), np.full(len(samples), np.nan)
    rng = np.random.default_rng(seed)
    for runs in sorted(set(found["runs"]) - {1}):
        at = np.flatnonzero(found["runs"] == runs)
        rows = np.stack([samples[index] for index in at])
        low[at] = high[at] = rows.mean(axis=1)
        spread = np.ptp(rows, axis=1) > 0
        if spread.any():
            rows, at = rows[spread], at[spread]
            low[at], high[at] = _interval((rows,), _mean, level, resamples, rng, rows.size)
    return found.assign(low=low, high=high)[[*CELL, "mean", "low", "high", "runs"]]


def interval_over_spaces(
    samples: list[Float64[np.ndarray, "_"]],
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """An interval of the mean over spaces of the mean fraction of one optimiser.

    Runs are drawn anew within each space: the spaces are taken as they are, so that the interval
    says nothing about others.

    Args:
        samples: The fractions of the runs on each space.
        level: How often such an interval holds the true mean.
        resamples: How often runs are drawn anew.
        seed: Equal seeds, equal intervals.

    Returns:
        Its ends; not numbers where a space has a single run.

    Raises:
        ConfigError: The level or the number of resamples is wrong.
    """
    _check(level, resamples)
    if min(map(len, samples)) < 2:
        return float("nan"), float("nan")
    if not any(np.ptp(each) > 0 for each in samples):
        mean = float(np.mean([each.mean() for each in samples]))
        return mean, mean
    rng, size = np.random.default_rng(seed), sum(map(len, samples))
    low, high = _interval(tuple(samples), _mean_of_means, level, resamples, rng, size)
    return float(low), float(high)


def _interval(
    data: tuple[np.ndarray, ...], mean: Any, level: float, resamples: int, rng: Any, size: int
) -> tuple[Any, Any]:
    interval = stats.bootstrap(
        data,
        mean,
        axis=-1,
        confidence_level=level,
        n_resamples=resamples,
        method="BCa",
        vectorized=True,
        batch=max(1, _BATCH // size),
        rng=rng,
    ).confidence_interval
    return interval.low, interval.high


def _mean(sample: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.asarray(sample.mean(axis=axis))


def _mean_of_means(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
    total = sum(sample.mean(axis=axis) for sample in samples)
    return np.asarray(total / len(samples))


def _check(level: float, resamples: int) -> None:
    if not 0 < level < 1:
        raise ConfigError(f"level={level} was given; one between 0 and 1 is wanted")
    if resamples < 100:
        raise ConfigError(f"resamples={resamples} was given; at least 100 are wanted")
