"""The tables of the report, as text ready to be laid out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from leanline.experiments.evidence import KERNEL_DENSE
from leanline.report.data import Report, Run, Stage
from leanline.report.metrics import (
    duration,
    fixed,
    in_order,
    percent,
    short_count,
    significant,
)
from leanline.report.sentences import ROWS, took
from leanline.report.series import is_pruned


@dataclass(frozen=True)
class Line:
    """A row of a table: its heading and its cells; an empty cell is a dash."""

    heading: str
    cells: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True)
class Block:
    """Rows that belong together, with a heading of their own where there are several blocks."""

    heading: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        columns: headings, that of the row headings first.
        blocks: the rows.
        note: a sentence beneath it.
    """

    columns: tuple[str, ...]
    blocks: tuple[Block, ...]
    note: str = ""


def accuracy_table(report: Report) -> Table | None:
    """Every metric on the test pictures; None where none was measured."""
    judged: list[tuple[str, str, Mapping[str, float]]] = []
    for run in report.runs:
        if run.judged("dense"):
            total = report.total_filters
            judged.append(("Unpruned", f"{total:,}" if total else "–", run.judged("dense")))
            break
    for run in report.runs:
        for name in ("pruned", "trained"):
            if run.judged(name):
                change = run.change("filters")
                kept = f"{change.after:,} ({percent(change.fraction)})" if change else "–"
                judged.append((run.label, kept, run.judged(name)))
    if not judged:
        return None
    metrics = in_order({name for _, _, values in judged for name in values})
    pruning = report.kind != "train"
    columns = (
        "Network",
        *(("Filters kept",) if pruning else ()),
        *(metric.heading for metric in metrics),
    )
    lines = tuple(
        Line(
            label,
            (
                *((kept,) if pruning else ()),
                *(
                    metric.number(values[metric.name]) if metric.name in values else "–"
                    for metric in metrics
                ),
            ),
        )
        for label, kept, values in judged
    )
    return Table(columns, (Block("", lines),))


def speed_table(report: Report) -> Table | None:
    """Times with their spread; None where nothing was timed."""
    blocks = []
    for run in report.runs:
        if run.evidence is None or run.evidence.timing is None:
            continue
        table = run.evidence.timing
        own = {row.name: row.median for row in table.rows}.get(KERNEL_DENSE)
        lines = tuple(
            Line(
                row.name,
                (
                    significant(row.median),
                    f"{significant(row.low)} to {significant(row.high)}",
                    f"{significant(row.speedup)}×" if place else "1",
                    f"{significant(row.speedup_low)} to {significant(row.speedup_high)}"
                    if place
                    else "–",
                    f"{significant(own / row.median)}×" if own and is_pruned(row.name) else "–",
                ),
                ROWS.get(row.name, ""),
            )
            for place, row in enumerate(table.rows)
        )
        blocks.append(Block(run.label if len(report.runs) > 1 else "", lines))
    columns = (
        "Network",
        "Median (ms)",
        "Quartiles (ms)",
        "Speed-up",
        "Its quartiles",
        "Against leanline, dense",
    )
    return Table(columns, tuple(blocks)) if blocks else None


def size_table(report: Report) -> Table | None:
    """Filters, channels, parameters and multiply-accumulates before and after."""
    names = {
        "filters": "Filters",
        "channels": "Channels of convolutions",
        "parameters": "Parameters",
        "macs": "Multiply-accumulates (MACs)",
    }
    runs = [run for run in report.runs if run.evidence and run.evidence.network]
    if not runs:
        return None
    lines = []
    for name, title in names.items():
        changes = [run.change(name) for run in runs]
        before = next((change.before for change in changes if change), None)
        if before is None:
            continue
        show = short_count if name == "macs" else "{:,}".format
        cells = [show(before)]
        for change in changes:
            cells += [show(change.after), percent(change.fraction)] if change else ["–", "–"]
        lines.append(Line(title, tuple(cells)))
    heads = [head for run in runs for head in (f"{run.label}: left", "of unpruned")]
    if len(runs) == 1:
        heads = ["Left", "of unpruned"]
    return Table(("", "Unpruned", *heads), (Block("", tuple(lines)),))


def stage_table(report: Report) -> Table | None:
    """What each stage, or evaluation, gave and took; None before the first."""
    metric = report.metric
    blocks = []
    for run in report.runs:
        lines = []
        for stage in run.stages:
            value = stage.metrics.get(metric.name) if metric else None
            cells = [
                *_stage_cells(run, stage),
                metric.number(value) if metric and value is not None else "–",
                fixed(stage.train_loss, 4) if stage.train_loss is not None else "–",
                significant(stage.seconds),
            ]
            lines.append(Line(f"{stage.index:,}", tuple(cells)))
        if lines:
            blocks.append(Block(run.label if len(report.runs) > 1 else "", tuple(lines)))
    if not blocks:
        return None
    judged = f"{metric.heading}, validation" if metric else "Metric"
    first = ("Step", "Kept") if report.kind == "train" else ("Stage", "Asked to keep", "Filters")
    return Table(
        (*first, judged, "Training loss", "Seconds"), tuple(blocks), f"In all: {took(report)}."
    )


def settings_table(report: Report) -> Table:
    """Every setting; one column a run where they differ."""
    flat = [dict(_flat(run.config)) for run in report.runs]
    outer = {} if report.kind != "comparison" else dict(_flat(report.config))
    columns = [run.label for run in report.runs]
    shared = [
        (key, value)
        for key, value in (flat[0].items() if flat else ())
        if all(each.get(key) == value for each in flat)
    ]
    known = dict(shared)
    blocks = []
    if outer:
        blocks.append(Block("Of the whole", tuple(Line(k, (v,)) for k, v in outer.items())))
    if shared:
        title = "Of every run" if report.kind == "comparison" else ""
        blocks.append(Block(title, tuple(Line(key, (value,)) for key, value in shared)))
    for label, each in zip(columns, flat, strict=True):
        own = tuple(Line(key, (value,)) for key, value in each.items() if key not in known)
        if own:
            blocks.append(Block(f"Of {label} only", own))
    return Table(("Setting", "Value"), tuple(blocks))


def settings_of(config: Mapping[str, Any]) -> Table:
    """Every setting of one configuration; unset ones are left out."""
    lines = tuple(Line(key, (value,)) for key, value in _flat(config) if value != "null")
    return Table(("Setting", "Value"), (Block("", lines),))


def machine_table(report: Report) -> Table:
    """What ran where: command, versions, machine, time."""
    commands = [run.evidence.command for run in report.runs if run.evidence]
    machines = [run.evidence.machine for run in report.runs if run.evidence]
    totals = [
        run.evidence.seconds if run.evidence and run.evidence.seconds else run.seconds
        for run in report.runs
    ]
    data = [str(run.config.get("data", "")) for run in report.runs]
    models = [_text(run.config.get("model", "")) for run in report.runs]
    rows = (
        ("Command", _each(commands) or "not recorded"),
        ("Network", _each(models)),
        ("Pictures", _each(data)),
        ("Machine", _each(machines) or "not recorded"),
        ("leanline", report.versions.get("leanline", "")),
        ("PyTorch", report.versions.get("torch", "")),
        ("Time of the stages", duration(sum(totals)) if totals else ""),
        ("Folder", report.folder.name),
    )
    return Table(("", ""), (Block("", tuple(Line(k, (v,)) for k, v in rows if v)),))


def _stage_cells(run: Run, stage: Stage) -> tuple[str, ...]:
    if run.kind == "train":
        return ("best so far" if stage.best else "–",)
    kept = f"{stage.kept:,}" if stage.kept is not None else "–"
    return (percent(stage.keep) if stage.keep is not None else "–", kept)


def _each(values: list[str]) -> str:
    return "; ".join(dict.fromkeys(value for value in values if value))


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            yield from _flat(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _text(item)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
