"""Rules compared at equal filters and at equal time: means, spreads, differences.

Between two stages a run's metric is interpolated linearly on a log axis of filters or time. A run
is read from dense to sparse, and the first two neighbouring stages between which the wanted place
lies count. Where a run does not reach so far, it has no value there. Spreads are from the lowest
seed to the highest.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from leanline.experiments.results import DENSE

RUN = ["network", "data", "criterion", "seed"]
PLACE = ["network", "data", "target"]


def value_at(places: Sequence[float], values: Sequence[float], target: float) -> float:
    """A run's metric where it has as many filters, or takes as long, as wanted.

    Args:
        places: filters or times, from the first stage to the last: falling, but for noise.
        values: metrics of those stages.
        target: the place that is wanted.

    Returns:
        The interpolated value, NaN outside the run.
    """
    known = [
        (place, value)
        for place, value in zip(places, values, strict=True)
        if math.isfinite(place) and math.isfinite(value)
    ]
    for (before, start), (after, end) in itertools.pairwise(known):
        if after <= target <= before:
            if after == before:
                return end
            part = math.log(before / target) / math.log(before / after)
            return start + part * (end - start)
    return math.nan


def at_equal(table: pd.DataFrame, axis: str, targets: Sequence[float], metric: str) -> pd.DataFrame:
    """Every run's metric at the same filters or times.

    Args:
        table: see `leanline.experiments.results.collect`; a pair's dense row begins each run of it.
        axis: "live" (fraction of the filters), "macs", or "ms": milliseconds, which are the dense
            network's median over all stages, divided by the stage's speed-up against it.
        targets: where to compare.
        metric: a column.

    Returns:
        Columns: those of `RUN`, target, value (NaN outside a run).
    """
    rows = []
    for _, pair in table.groupby(["network", "data"], sort=False):
        dense = pair[pair["criterion"] == DENSE]
        for names, run in pair[pair["criterion"] != DENSE].groupby(RUN, sort=False):
            whole = pd.concat([dense, run.sort_values("stage")])
            places = place_of(whole, axis)
            for target in targets:
                value = value_at(list(places), list(whole[metric]), target)
                rows.append(
                    {**dict(zip(RUN, names, strict=True)), "target": target, "value": value}
                )
    return pd.DataFrame(rows, columns=[*RUN, "target", "value"])


def place_of(run: pd.DataFrame, axis: str) -> np.ndarray:
    """Where the rows of one pair lie on an axis; NaN where it was not measured."""
    if axis != "ms":
        return np.asarray(run[axis], float)
    if "speedup" not in run or "eager_ms" not in run:
        return np.full(len(run), math.nan)
    return float(run["eager_ms"].dropna().iloc[0]) / np.asarray(run["speedup"], float)


def judged(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Every run's metric at the stages that were judged, by the fraction that was asked for.

    Returns:
        As `at_equal`; the target is the stage's fraction.
    """
    found = table[(table["criterion"] != DENSE) & table[metric].notna()]
    found = found.assign(target=found["keep"], value=found[metric])
    return found[[*RUN, "target", "value"]].reset_index(drop=True)


def summarise(values: pd.DataFrame) -> pd.DataFrame:
    """Mean, lowest and highest over the seeds.

    Args:
        values: of `at_equal` or `judged`.

    Returns:
        Columns: network, data, target, criterion, mean, low, high, runs; targets without any run
        are left out.
    """
    grouped = values.dropna(subset="value").groupby([*PLACE, "criterion"], sort=False)["value"]
    table = grouped.agg(mean="mean", low="min", high="max", runs="count").reset_index()
    return table.sort_values([*PLACE], ascending=[True, True, False], kind="stable")


def differences(values: pd.DataFrame, reference: str) -> pd.DataFrame:
    """How far a rule is ahead of each other one, seed by seed.

    Args:
        values: of `at_equal` or `judged`.
        reference: the rule.

    Returns:
        Columns: network, data, target, criterion (the other rule), mean, low, high (of the
        differences), runs, apart: whether the lowest seed of one lies above the highest of the
        other, 1 where the reference is ahead, -1 where it is behind, 0 where they overlap.
    """
    rows = []
    for place, group in values.dropna(subset="value").groupby(PLACE, sort=False):
        own = group[group["criterion"] == reference].set_index("seed")["value"]
        for other, theirs in group.groupby("criterion", sort=False):
            if other == reference:
                continue
            paired = (own - theirs.set_index("seed")["value"]).dropna()
            if not len(paired):
                continue
            apart = int(own.min() > theirs["value"].max()) - int(own.max() < theirs["value"].min())
            rows.append(
                {
                    **dict(zip(PLACE, place, strict=True)),
                    "criterion": other,
                    "mean": paired.mean(),
                    "low": paired.min(),
                    "high": paired.max(),
                    "runs": len(paired),
                    "apart": apart,
                }
            )
    columns = [*PLACE, "criterion", "mean", "low", "high", "runs", "apart"]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values([*PLACE], ascending=[True, True, False], kind="stable")
