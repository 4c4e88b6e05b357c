"""For a budget, which optimiser to use, and which others are as good as far as can be told."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float64
from scipy import stats

from leanline.errors import ConfigError
from leanline.tuning.statistics.cells import checked_runs
from leanline.tuning.statistics.corrections import holm
from leanline.tuning.statistics.effect_size import a12
from leanline.tuning.statistics.intervals import interval_over_spaces

BEST, EQUAL, WORSE, INCOMPLETE = "best", "not distinguishable", "worse", "incomplete"
"""Verdicts: the highest mean; not significantly below it; significantly below; not run on all
spaces and therefore not compared."""

COLUMNS = [
    "budget",
    "optimiser",
    "verdict",
    "mean",
    "low",
    "high",
    "success",
    "evaluations",
    "better",
    "p",
    "spaces",
]

Samples = list[Float64[np.ndarray, "_"]]


def recommend(
    table: pd.DataFrame, *, alpha: float = 0.05, level: float = 0.95, seed: int = 0
) -> pd.DataFrame:
    """Rank the optimisers at each budget and tell who is not distinguishable from the best.

    An optimiser's score is the mean over spaces of its mean fraction of the optimum. Two scores are
    compared by Welch's t-test, with the variances of all spaces put together (F. E. Satterthwaite,
    Biometrics Bulletin 2, 1946). The p-values of all pairs of a budget are corrected by Holm's
    procedure: of all pairs, since which one is the best is known only afterwards.

    Args:
        table: A row a run, as `benchmark` returns it.
        alpha: Level of significance.
        level: Of the intervals.
        seed: Of the intervals; see `interval_over_spaces`.

    Returns:
        A row an optimiser and budget, the best of each budget first. Columns: budget, optimiser,
        verdict, mean, low, high (the score and its interval), success (share of runs that found the
        optimum), evaluations (mean number used; not a number where the table has none), better
        (chance that a run of the best finds a better solution than one of this, see `a12`; mean
        over spaces), p (against the best, corrected; not a number where a space has one run),
        spaces.

    Raises:
        ConfigError: The table is wrong, or alpha or level is not between 0 and 1.
    """
    if not 0 < alpha < 1:
        raise ConfigError(f"alpha={alpha} was given; a level between 0 and 1 is wanted")
    runs = checked_runs(table)
    if "evaluations" not in runs.columns:
        runs = runs.assign(evaluations=np.nan)
    budgets = [_at_budget(group, alpha, level, seed) for _, group in runs.groupby("budget")]
    return pd.concat(budgets, ignore_index=True)


def _at_budget(runs: pd.DataFrame, alpha: float, level: float, seed: int) -> pd.DataFrame:
    spaces = list(runs["space"].unique())
    rows, samples = [], {}
    for name, own in runs.groupby("optimiser", sort=False):
        fractions: Samples = [
            part.to_numpy(np.float64) for _, part in own.groupby("space")["fraction"]
        ]
        samples[name] = fractions
        low, high = interval_over_spaces(fractions, level=level, seed=seed)
        rows.append(
            {
                "budget": int(own["budget"].iloc[0]),
                "optimiser": name,
                "mean": float(np.mean([each.mean() for each in fractions])),
                "low": low,
                "high": high,
                "success": float(np.mean([(each == 1).mean() for each in fractions])),
                "evaluations": float(own.groupby("space")["evaluations"].mean().mean()),
                "spaces": len(fractions),
            }
        )
    found = pd.DataFrame(rows)
    complete = found["spaces"] == len(spaces)
    found = found.assign(complete=complete).sort_values(
        ["complete", "mean", "evaluations"], ascending=[False, False, True], kind="stable"
    )
    names = list(found.loc[found["complete"], "optimiser"])
    p = corrected_p_values([samples[name] for name in names])
    # nobody may have been run on all spaces
    p_best = dict(zip(names, p[0] if names else (), strict=True))
    best = names[0] if names else None
    verdicts, better = [], []
    for name in found["optimiser"]:
        if name not in p_best:
            verdicts.append(INCOMPLETE)
        elif name == best:
            verdicts.append(BEST)
        else:
            verdicts.append(WORSE if p_best[name] < alpha else EQUAL)
        pairs = zip(samples[best], samples[name], strict=True) if name in p_best else ()
        chances = [a12(first, second) for first, second in pairs]
        better.append(float(np.mean(chances)) if chances else np.nan)
    p_column = [p_best.get(name, np.nan) if name != best else np.nan for name in found["optimiser"]]
    return found.assign(verdict=verdicts, better=better, p=p_column)[COLUMNS]


def corrected_p_values(samples: list[Samples]) -> Float64[np.ndarray, "optimisers optimisers"]:
    """p-values between all optimisers over all spaces, corrected by Holm for the number of pairs.

    Args:
        samples: For each optimiser the fractions of its runs on each space, of at least one run.

    Returns:
        Symmetric; 1 on the diagonal. Not a number where a space has a single run; without any
        spread, 0 where means differ and 1 where not.
    """
    count = len(samples)
    matrix = np.ones((count, count))
    upper = np.triu_indices(count, 1)
    p = np.array([_p_value(samples[i], samples[j]) for i, j in zip(*upper, strict=True)])
    matrix[upper] = matrix.T[upper] = holm(p)
    return matrix


def _p_value(first: Samples, second: Samples) -> float:
    """Welch's test of the difference of two means over spaces."""
    both = [*first, *second]
    if min(map(len, both)) < 2:
        return float("nan")
    apart = np.mean([x.mean() for x in first]) - np.mean([x.mean() for x in second])
    errors = np.array([x.var(ddof=1) / len(x) for x in both])
    if not errors.any():
        return float(abs(apart) < 1e-12)
    freedom = errors.sum() ** 2 / (errors**2 / [len(x) - 1 for x in both]).sum()
    score = abs(apart) * len(first) / np.sqrt(errors.sum())
    return float(2 * stats.t.sf(score, freedom))
