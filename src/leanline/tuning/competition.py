"""Who beats whom: the paper's competition heatmaps (A1 to A6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import pandas as pd
from jaxtyping import Float64
from scipy import stats

from leanline.errors import ConfigError
from leanline.tuning.statistics.cells import checked_runs, need
from leanline.tuning.statistics.corrections import holm

Correction: TypeAlias = Literal["none", "holm"]
"""``none``: every pair is tested at the level, as in the paper. ``holm``: the p-values of all pairs
of a space and budget are corrected for their number; see `holm`."""


@dataclass(frozen=True, eq=False)
class Competition:
    """Counts of significant wins.

    Attributes:
        low: For budgets up to the split: how often the optimiser of the column found better
            solutions than that of the row.
        high: The same for the budgets above.
        split: The highest of the low budgets.
        alpha: Level of significance.
        correction: For the number of tests.
    """

    low: pd.DataFrame
    high: pd.DataFrame
    split: int
    alpha: float
    correction: Correction


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Mean, standard deviation and number of runs of each optimiser, space and budget.

    Args:
        table: A row a run, as `benchmark` returns it.

    Returns:
        Columns optimiser, space, budget, mean, std (of the sample; 0 for a single run), runs.

    Raises:
        ConfigError: The table is wrong; see `checked_runs`.
    """
    groups = checked_runs(table).groupby(["optimiser", "space", "budget"], sort=False)["fraction"]
    summary = groups.agg(mean="mean", std="std", runs="size").reset_index()
    return summary.fillna({"std": 0.0})


def competition(
    table: pd.DataFrame,
    split: int = 200,
    alpha: float = 0.05,
    n: int | None = None,
    correction: Correction = "none",
) -> Competition:
    """Count in how many cells (space, budget) one optimiser found better solutions than another.

    A win is a higher mean fraction of the optimum where a two-sided two-sample t-test with equal
    variances gives p < alpha.

    Args:
        table: A row a run, as `benchmark` returns it; or a row an optimiser, space and budget with
            the columns mean, std and runs, as `summarise` returns it. For the paper's maps, of one
            kernel.
        split: The highest of the low budgets.
        alpha: Level of significance.
        n: The number of runs that the test is told; None: the true one. The published maps were
            computed with 100, though 50 runs were made (and 20 of SMAC).
        correction: For the number of tests; the paper makes none, so that one count in forty comes
            from chance alone where two optimisers are equal.

    Returns:
        Two square tables of whole numbers, optimisers in the order of the table.

    Raises:
        ConfigError: A column is missing, a cell is there twice, alpha is not between 0 and 1, n is
            below 2, or there is no such correction.
    """
    summary = table if "mean" in table.columns else summarise(table)
    need(summary, ("optimiser", "space", "budget", "mean", "std", "runs"))
    if not 0 < alpha < 1:
        raise ConfigError(f"alpha={alpha} was given; a level between 0 and 1 is wanted")
    if n is not None and n < 2:
        raise ConfigError(f"n={n} was given; a t-test needs at least 2 runs")
    if correction not in ("none", "holm"):
        raise ConfigError(f"correction {correction!r} was asked for; there are none and holm")
    if summary.duplicated(["optimiser", "space", "budget"]).any():
        raise ConfigError("the summary holds an optimiser, space and budget twice")
    names = list(summary["optimiser"].drop_duplicates())
    return Competition(
        low=_counts(summary[summary["budget"] <= split], names, alpha, n, correction),
        high=_counts(summary[summary["budget"] > split], names, alpha, n, correction),
        split=split,
        alpha=alpha,
        correction=correction,
    )


def _counts(
    summary: pd.DataFrame, names: list[str], alpha: float, n: int | None, correction: Correction
) -> pd.DataFrame:
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    pairs = np.triu_indices(len(names), 1)
    for _, cell in summary.groupby(["space", "budget"]):
        rows = cell.set_index("optimiser").reindex(names)
        runs = rows["runs"].to_numpy(np.float64)
        if n is not None:
            runs = np.where(np.isnan(runs), np.nan, float(n))
        mean, std = rows["mean"].to_numpy(np.float64), rows["std"].to_numpy(np.float64)
        p = p_values(mean, std, runs)
        if correction == "holm":
            p[pairs] = p.T[pairs] = holm(p[pairs])
        counts += (mean[None] > mean[:, None]) & (p < alpha)
    return pd.DataFrame(counts, index=names, columns=names)


def p_values(
    mean: Float64[np.ndarray, "samples"],
    std: Float64[np.ndarray, "samples"],
    runs: Float64[np.ndarray, "samples"],
) -> Float64[np.ndarray, "samples samples"]:
    """Two-sided p of the t-test with equal variances, for every pair of samples.

    Two samples without spread differ for certain (p = 0) if their means do, else p = 1. A missing
    sample, or two of one run each, give not a number.
    """
    free = runs[:, None] + runs[None] - 2
    with np.errstate(all="ignore"):
        squares = (runs - 1) * std**2
        pooled = (squares[:, None] + squares[None]) / free
        error = np.sqrt(pooled * (1 / runs[:, None] + 1 / runs[None]))
        apart = np.abs(mean[:, None] - mean[None])
        score = np.where((apart == 0) & (error == 0), 0.0, apart / error)
        return np.asarray(2 * stats.t.sf(score, free))
