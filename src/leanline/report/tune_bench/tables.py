"""The tables of a tuning benchmark's report, as text ready to be laid out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from leanline.records.configuration import canonical
from leanline.report.metrics import NARROW, fixed, percent, significant
from leanline.report.tables import Block, Line, Table
from leanline.tuning import Ranks
from leanline.tuning.statistics.recommend import BEST, EQUAL, INCOMPLETE

NONE = "–"


def recommendation_table(recommended: pd.DataFrame) -> Table:
    """For each budget what to use, and what is as good as far as can be told."""
    lines = []
    for budget, part in recommended.groupby("budget"):
        best = part[part["verdict"] == BEST]
        equal = ", ".join(part.loc[part["verdict"] == EQUAL, "optimiser"])
        if len(best):
            row = best.iloc[0]
            cells = (str(row["optimiser"]), _interval(row), percent(row["success"]), equal or NONE)
        else:
            cells = ("none was run on all spaces", NONE, NONE, NONE)
        lines.append(Line(f"{budget:,}", cells))
    columns = (
        "Evaluations",
        "Use",
        "Fraction of the optimum",
        "Runs that found it",
        "Not distinguishable from it",
    )
    return Table(columns, (Block("", tuple(lines)),))


def score_table(recommended: pd.DataFrame) -> Table:
    """Every optimiser at every budget."""
    blocks = []
    for budget, part in recommended.groupby("budget"):
        lines = tuple(
            Line(
                str(row["optimiser"]),
                (
                    str(row["verdict"]).replace(" ", NARROW),
                    _interval(row),
                    percent(row["success"]),
                    NONE if math.isnan(row["evaluations"]) else fixed(row["evaluations"], 0),
                    NONE if row["verdict"] in (BEST, INCOMPLETE) else percent(row["better"]),
                    _p(row["p"]),
                ),
            )
            for _, row in part.iterrows()
        )
        blocks.append(Block(f"{budget:,} evaluations", lines))
    columns = (
        "Optimiser",
        "Against the best",
        "Fraction of the optimum",
        "Runs that found it",
        "Evaluations used",
        "The best beats it in",
        "p (Holm)",
    )
    return Table(columns, tuple(blocks))


def rank_table(ranks: Mapping[int, Ranks]) -> Table | None:
    """Mean ranks over spaces by budget; None without any."""
    if not ranks:
        return None
    order = pd.concat([each.mean for each in ranks.values()], axis=1).mean(axis=1)
    names = order.sort_values(kind="stable").index
    lines = [
        Line(
            str(name),
            tuple(
                fixed(each.mean[name], 1) if name in each.mean else NONE for each in ranks.values()
            ),
        )
        for name in names
    ]
    lines.append(
        Line(
            "Critical difference",
            tuple(fixed(each.critical_difference, 1) for each in ranks.values()),
            "Mean ranks that are nearer to each other are not distinguishable (Nemenyi).",
        )
    )
    lines.append(
        Line("p that all are alike", tuple(_p(each.p) for each in ranks.values()), "Friedman")
    )
    columns = ("Optimiser", *(f"{budget:,}" for budget in ranks))
    return Table(columns, (Block("", tuple(lines)),))


def space_table(spaces: Sequence[Mapping[str, Any]]) -> Table:
    """The spaces in numbers."""
    lines = tuple(
        Line(
            str(each["name"]),
            (
                f"{each['cartesian']:,}",
                f"{each['allowed']:,}",
                f"{each['ran']:,}",
                f"{sum(each['failed'].values()):,}",
                f"{each['unmeasured']:,}",
                significant(each["best_time"], 4),
                f"{significant(each['median_time'] / each['best_time'])}×",
                f"{each['near']['0.9']:,}",
                f"{each['near']['0.99']:,}",
            ),
        )
        for each in spaces
    )
    columns = (
        "Space",
        "Cartesian",
        "Meet constraints",
        "Ran",
        "Failed",
        "Not measured",
        "Best (ms)",
        "Median / best",
        "Within 90 %",
        "Within 99 %",
    )
    note = (
        "What failed or was not measured counts as failed. The last two columns count the "
        "configurations that reach that fraction of the optimum: the fewer, the harder."
    )
    return Table(columns, (Block("", lines),), note)


def one_space_table(space: Mapping[str, Any]) -> Table:
    """What is known of one space."""
    parameters = ", ".join(f"{name} ({count})" for name, count in space["parameters"].items())
    best = ", ".join(f"{name} = {value}" for name, value in space["best"].items())
    failed = ", ".join(f"{reason}: {count:,}" for reason, count in space["failed"].items())
    rows = (
        ("Parameters (values)", parameters),
        ("Constraints", str(space["constraints"])),
        ("Best configuration", f"{best}: {significant(space['best_time'], 4)} ms"),
        ("Failed configurations", failed or "none among those that were measured"),
        ("Single times of each", str(space["single_times"] or "only means are known")),
        ("File", f"{space['file']}, SHA-256 {space['sha256'][:16]}…"),
    )
    return Table(("", ""), (Block("", tuple(Line(key, (value,)) for key, value in rows)),))


def optimiser_table(settings: Mapping[str, Mapping[str, Any]]) -> Table:
    """The settings of every optimiser."""
    lines = []
    for name, own in settings.items():
        nested = any(isinstance(value, Mapping) for value in own.values())
        parts = (
            [f"{budget}: {_settings(each)}" for budget, each in own.items()]
            if nested
            else [_settings(own)]
        )
        lines.append(Line(name, ("; ".join(parts),)))
    return Table(("Optimiser", "Settings, by budget where they differ"), (Block("", tuple(lines)),))


def _settings(own: Mapping[str, Any]) -> str:
    shown = (
        f"{key} = {value if isinstance(value, str) else canonical(value)}"
        for key, value in own.items()
    )
    return ", ".join(shown) or "none"


def _interval(row: pd.Series) -> str:
    mean = fixed(row["mean"], 3)
    if math.isnan(row["low"]):
        return mean
    return f"{mean} ({fixed(row['low'], 3)} to {fixed(row['high'], 3)})"


def _p(value: float) -> str:
    if math.isnan(value):
        return NONE
    return "< 0.001" if value < 0.001 else fixed(value, 3)
