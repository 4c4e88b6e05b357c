"""Ranks over spaces: who tends to be ahead, whatever the space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from leanline.errors import ConfigError
from leanline.tuning.statistics.cells import checked_runs


@dataclass(frozen=True, eq=False)
class Ranks:
    """Mean ranks at a budget.

    Attributes:
        mean: Mean rank by optimiser, 1 is the best, ascending.
        critical_difference: Mean ranks nearer than this are not distinguishable.
        p: Of Friedman's test that all optimisers are alike; 1 if all ranks are equal.
        spaces: How many spaces were ranked on.
    """

    mean: pd.Series
    critical_difference: float
    p: float
    spaces: int


def mean_ranks(table: pd.DataFrame, budget: int, alpha: float = 0.05) -> Ranks:
    """Rank the optimisers on each space by their mean fraction, and average over the spaces.

    J. Demšar, "Statistical comparisons of classifiers over multiple data sets", Journal of Machine
    Learning Research 7 (2006): Friedman's test, then Nemenyi's critical difference. Unlike the
    intervals, this takes the spaces as a sample of all kernels; it needs many of them.

    Args:
        table: A row a run, as `benchmark` returns it.
        budget: Which of its budgets.
        alpha: Level of significance.

    Raises:
        ConfigError: The table is wrong, or there are fewer than two optimisers or two spaces in
            which all of them were run.
    """
    runs = checked_runs(table)
    means = (
        runs[runs["budget"] == budget]
        .pivot_table(index="space", columns="optimiser", values="fraction", aggfunc="mean")
        .dropna()
    )
    spaces, optimisers = means.shape
    if spaces < 2 or optimisers < 2:
        raise ConfigError(
            f"budget {budget} has {optimisers} optimisers and {spaces} spaces with runs of all of "
            "them; ranks need two of each"
        )
    ranks = means.rank(axis=1, ascending=False)
    mean = ranks.mean().sort_values(kind="stable")
    studentized = stats.studentized_range.isf(alpha, optimisers, np.inf)
    difference = studentized / np.sqrt(2) * np.sqrt(optimisers * (optimisers + 1) / (6 * spaces))
    return Ranks(mean, float(difference), _friedman(ranks.to_numpy()), spaces)


def _friedman(ranks: np.ndarray) -> float:
    """Friedman's p with its correction for ties; SciPy's wants three optimisers."""
    spaces, optimisers = ranks.shape
    spread = float(((ranks - (optimisers + 1) / 2) ** 2).sum())
    if spread == 0:
        return 1.0
    between = float(((ranks.sum(axis=0) - spaces * (optimisers + 1) / 2) ** 2).sum())
    return float(stats.chi2.sf((optimisers - 1) * between / spread, optimisers - 1))
