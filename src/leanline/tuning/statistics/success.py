"""How often the best configuration of a space is found."""

from __future__ import annotations

import pandas as pd
from scipy import stats

from leanline.tuning.statistics.cells import CELL, checked_runs


def success_rates(table: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """Share of the runs that found the optimum: those whose fraction is exactly 1.

    Args:
        table: A row a run, as `benchmark` returns it.
        level: Of the interval.

    Returns:
        Columns optimiser, space, budget, rate, low, high (E. B. Wilson's interval, Journal of the
        American Statistical Association 22, 1927), runs.

    Raises:
        ConfigError: The table is wrong.
    """
    runs = checked_runs(table).assign(found=table["fraction"] == 1)
    groups = runs.groupby(CELL, sort=False)["found"]
    rates = groups.agg(rate="mean", found="sum", runs="size").reset_index()
    intervals = [
        stats.binomtest(int(found), int(runs)).proportion_ci(level, "wilson")
        for found, runs in zip(rates["found"], rates["runs"], strict=True)
    ]
    low, high = ([getattr(each, end) for each in intervals] for end in ("low", "high"))
    return rates.assign(low=low, high=high)[[*CELL, "rate", "low", "high", "runs"]]
