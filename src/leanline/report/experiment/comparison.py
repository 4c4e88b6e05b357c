"""Tables of an experiment: rules at equal filters and at equal time, and Table 4.1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from leanline.experiments.compare import (
    at_equal,
    differences,
    judged,
    place_of,
    summarise,
)
from leanline.experiments.networks import THESIS
from leanline.experiments.results import DENSE
from leanline.report.experiment.batches import BatchData
from leanline.report.experiment.data import Experiment, rule_label
from leanline.report.metrics import Metric, milliseconds, percent, times
from leanline.report.tables import Block, Line, Table

_MARKS = {1: " ▲", -1: " ▼", 0: ""}
_NOTE = (
    "Mean over the seeds, in brackets the lowest and the highest; ▲ and ▼ where even the worst "
    "seed of one rule is better than the best of the other."
)


def filters_table(experiment: Experiment, pair: tuple[str, str]) -> Table | None:
    """The rules at equal filters, on test pictures; None where nothing was judged."""
    metric = experiment.metric(pair)
    table = experiment.of_pair(pair)
    column = f"test_{metric.name}"
    if column not in table or not table[column].notna().any():
        return None
    values = judged(table, column)
    heads = {target: percent(float(target)) for target in _falling(values["target"])}
    dense = table[table["criterion"] == DENSE][column].dropna()
    note = f"Unpruned: {metric.text(float(dense.iloc[0]))}. " if len(dense) else ""
    tested = table[(table["criterion"] != DENSE) & table[column].notna()]
    off = float((tested["live"] / tested["keep"] - 1).abs().max())
    note += f"The filters that are alive are within {percent(off)} of the headings. {_NOTE}"
    return _comparison(experiment, pair, values, heads, metric, "Filters kept", note)


def time_table(experiment: Experiment, pair: tuple[str, str]) -> Table | None:
    """The rules at equal milliseconds, on validation pictures; None where nothing was timed.

    The times are those of the reference rule at the stages that are judged on test pictures.
    """
    metric, table = experiment.metric(pair), experiment.of_pair(pair)
    if "speedup" not in table or f"test_{metric.name}" not in table:
        return None
    dense = table[table["criterion"] == DENSE]
    chosen = table[table["criterion"] == experiment.reference]
    stages = chosen[chosen[f"test_{metric.name}"].notna()]["stage"].unique()
    targets = []
    for stage in stages:
        places = pd.Series(place_of(pd.concat([dense, chosen[chosen["stage"] == stage]]), "ms")[1:])
        if places.notna().any():
            targets.append(float(f"{places.mean():.2g}"))
    if not targets:
        return None
    values = at_equal(table, "ms", _falling(targets), f"val_{metric.name}")
    heads = {target: milliseconds(target) for target in _falling(targets)}
    note = (
        "Between two stages, values are interpolated on a log axis of time. Milliseconds are the "
        "dense network's median divided by the speed-up over it in one interleaved run. A dash: "
        f"the rule's networks were not timed so far, or are never that fast. {_NOTE}"
    )
    return _comparison(experiment, pair, values, heads, metric, "Milliseconds", note)


def batch_table(data: BatchData) -> Table:
    """Milliseconds a picture and speed-ups by batch size."""
    sizes = [time.batch for time in data.lines[0].times]
    own = next((line for line in data.lines[1:] if not line.pruned), None)
    lines = []
    for line in data.lines:
        cells = []
        for index, time in enumerate(line.times):
            cell = milliseconds(time.ms)
            if line is not data.lines[0]:
                cell += f", {times(time.speedup)}"
            if line.pruned and own is not None:
                cell += f" ({times(time.speedup / own.times[index].speedup)})"
            cells.append(cell)
        lines.append(Line(line.label, tuple(cells)))
    note = (
        f"Milliseconds a picture, and how many times as fast as dense in PyTorch"
        f"{' (in brackets: as dense on the same kernels)' if own else ''}; medians, "
        f"{data.threads} thread{'s' if data.threads > 1 else ''}, {data.device}."
    )
    return Table(("Pictures in a batch", *map(str, sizes)), (Block("", tuple(lines)),), note)


def networks_table(rows: Sequence[Mapping[str, object]]) -> Table:
    """Table 4.1, counted and as printed."""
    lines = []
    for row in rows:
        words = [_yes(bool(row[name])) for name in _OPERATORS]
        counts = [f"{int(str(row[name])):,}" for name in ("parameters", "filters", "edges")]
        lines.append(Line(str(row["name"]), (*words, *counts)))
        printed = THESIS.get(str(row["model"]))
        if printed:
            *operators, parameters, edges = printed
            cells = (*(_yes(bool(each)) for each in operators), f"{parameters:.2e}", f"{edges:.2e}")
            lines.append(Line("", (*cells, ""), "as printed in the thesis"))
    columns = ("", *_OPERATORS.values(), "Parameters", "Filters", "Edges")
    note = (
        "Filters are the prunable edges of the graph, which is what the thesis counts as edges; "
        "ours have residual connections, pooling and the layers that are not pruned as well."
    )
    return Table(columns, (Block("", tuple(lines)),), note)


_OPERATORS = {
    "strided": "Strided",
    "transposed": "Transposed",
    "dilated": "Dilated",
    "pooling": "Pooling",
    "batch_norm": "Batch norm",
}


def verdicts(experiment: Experiment, pair: tuple[str, str]) -> list[str]:
    """Where the reference is ahead of all other rules, level, or behind, in a sentence each."""
    metric, table = experiment.metric(pair), experiment.of_pair(pair)
    column = f"test_{metric.name}"
    if column not in table:
        return []
    values = judged(table, column)
    gaps = differences(values, experiment.reference)
    gaps = gaps[gaps["runs"] > 1]  # one seed has no spread
    found: dict[str, list[str]] = {"ahead": [], "level": [], "behind": []}
    for target in _falling(gaps["target"]):
        apart = gaps[gaps["target"] == target]["apart"]
        kind = "behind" if (apart < 0).any() else "ahead" if (apart > 0).all() else "level"
        found[kind].append(percent(float(target)))
    name = rule_label(experiment.reference)
    said = {
        "ahead": f"{name} is ahead of every other rule, by more than the spread of the seeds, at",
        "level": f"Within the spread of {name}'s seeds lies at least one other rule at",
        "behind": f"{name} is behind another rule, by more than the spread of the seeds, at",
    }
    return [f"{said[kind]} {_listed(places)}." for kind, places in found.items() if places]


def _comparison(
    experiment: Experiment,
    pair: tuple[str, str],
    values: pd.DataFrame,
    heads: Mapping[float, str],
    metric: Metric,
    corner: str,
    note: str,
) -> Table:
    means = summarise(values)
    gaps = differences(values, experiment.reference)
    rules = experiment.rules(pair)
    name = rule_label(experiment.reference)
    first = tuple(
        Line(rule_label(rule), tuple(_mean(means, rule, target, metric) for target in heads))
        for rule in rules
    )
    second = tuple(
        Line(
            f"{name} minus {rule_label(rule)}",
            tuple(_gap(gaps, rule, target, metric) for target in heads),
        )
        for rule in rules
        if rule != experiment.reference
    )
    blocks = (Block(metric.heading, first), Block("Seed by seed", second))
    return Table((corner, *heads.values()), blocks if second else blocks[:1], note)


def _mean(table: pd.DataFrame, rule: str, target: float, metric: Metric) -> str:
    found = table[(table["criterion"] == rule) & (table["target"] == target)]
    if not len(found):
        return "–"
    row = found.iloc[0]
    spread = f" ({metric.number(row['low'])} – {metric.number(row['high'])})"
    return metric.number(row["mean"]) + (spread if row["runs"] > 1 else "")


def _gap(table: pd.DataFrame, rule: str, target: float, metric: Metric) -> str:
    found = table[(table["criterion"] == rule) & (table["target"] == target)]
    if not len(found):
        return "–"
    row = found.iloc[0]
    spread = f" ({_signed(row['low'], metric)} – {_signed(row['high'], metric)})"
    mark = _MARKS[int(row["apart"])] if row["runs"] > 1 else ""
    return _signed(row["mean"], metric) + (spread if row["runs"] > 1 else "") + mark


def _signed(value: float, metric: Metric) -> str:
    return ("+" if value >= 0 else "") + metric.number(value)


def _falling(values: Sequence[float] | pd.Series) -> list[float]:
    return sorted({float(value) for value in values}, reverse=True)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _listed(words: Sequence[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
