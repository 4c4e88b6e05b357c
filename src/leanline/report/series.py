"""The numbers of each figure, ready to be drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from jaxtyping import Int

from leanline.report.data import Report, Run
from leanline.report.metrics import milliseconds, times


@dataclass(frozen=True)
class Curve:
    """Accuracy against kept filters for one rule.

    Attributes:
        label: the rule.
        kept: per cent of the filters, or how many where the total is not known; falling.
        values: the metric after each stage, in the unit that is shown.
        end: what stands at the last point.
    """

    label: str
    kept: tuple[float, ...]
    values: tuple[float, ...]
    end: str


@dataclass(frozen=True)
class AccuracyData:
    """Figure 4.3 of the thesis, for one network and one data set.

    Attributes:
        curves: one a rule.
        axis: label of the vertical axis.
        in_percent: whether filters are given in per cent, not in numbers.
        dense: the unpruned network's metric, None where it was not measured.
        dense_label: what stands at that line.
    """

    curves: tuple[Curve, ...]
    axis: str
    in_percent: bool
    dense: float | None
    dense_label: str


@dataclass(frozen=True)
class Bar:
    """A network's time.

    Attributes:
        name: the network.
        run: place of its run among the runs.
        pruned: whether it is a pruned network.
        median: milliseconds.
        low: first quartile.
        high: third quartile.
        note: what stands beside the bar.
    """

    name: str
    run: int
    pruned: bool
    median: float
    low: float
    high: float
    note: str


@dataclass(frozen=True)
class SpeedData:
    """Times of networks, by run.

    Attributes:
        bars: of all runs, run by run.
        groups: labels of the runs; one empty label for a single run.
    """

    bars: tuple[Bar, ...]
    groups: tuple[str, ...]


@dataclass(frozen=True)
class TrainingData:
    """How a training run went.

    Attributes:
        steps: steps at the evaluations.
        train_loss: mean loss since the evaluation before; empty where there is none.
        val_loss: loss on the validation pictures; empty where there is none.
        values: the main metric on the validation pictures, in the unit that is shown.
        axis: label of the metric's axis.
        best: index of the evaluation that was best.
    """

    steps: tuple[int, ...]
    train_loss: tuple[float, ...]
    val_loss: tuple[float, ...]
    values: tuple[float, ...]
    axis: str
    best: int | None


@dataclass(frozen=True, eq=False)
class MatrixData:
    """Adjacency matrix of one network (Figure A2).

    Attributes:
        cells: 2 where a filter is active, 1 where it was pruned away, 0 where there never was one.
        active: how many are active.
    """

    cells: Int[np.ndarray, "targets sources"]
    active: int


def accuracy_data(report: Report) -> AccuracyData | None:
    """Accuracy against kept filters; None where no stage has been judged."""
    metric, total = report.metric, report.total_filters
    if metric is None or report.kind == "train":
        return None
    curves = []
    for run in report.runs:
        points = [
            (stage.kept, stage.metrics[metric.name])
            for stage in run.stages
            if stage.kept and metric.name in stage.metrics
        ]
        points = [(kept, value) for kept, value in points if math.isfinite(value)]
        if points:
            kept = tuple(100 * count / total if total else float(count) for count, _ in points)
            values = tuple(metric.shown(value) for _, value in points)
            end = f"{run.label}: {metric.text(points[-1][1])}, {points[-1][0]:,} filters"
            curves.append(Curve(run.label, kept, values, end))
    if not curves:
        return None
    dense, which = dense_level(report)
    level = metric.shown(dense) if dense is not None and math.isfinite(dense) else None
    label = f"unpruned: {metric.text(dense)} ({which})" if dense is not None else ""
    axis = f"{metric.axis}, validation"
    return AccuracyData(tuple(curves), axis, total is not None, level, label)


def dense_level(report: Report) -> tuple[float | None, str]:
    """The unpruned network's main metric, on validation pictures if possible, and on which."""
    metric = report.metric
    for name, which in (("dense_val", "validation"), ("dense", "test")):
        for run in report.runs:
            if metric and metric.name in run.judged(name):
                return run.judged(name)[metric.name], which
    return None, ""


def speed_data(report: Report) -> SpeedData | None:
    """Times of all runs; None where nothing was timed."""
    timed = [
        (index, run, run.evidence.timing)
        for index, run in enumerate(report.runs)
        if run.evidence and run.evidence.timing
    ]
    bars = [
        Bar(
            row.name,
            index,
            is_pruned(row.name),
            row.median,
            row.low,
            row.high,
            milliseconds(row.median) + (f"  ({times(row.speedup)})" if place else ""),
        )
        for index, _, table in timed
        for place, row in enumerate(table.rows)
        if row.median > 0
    ]
    if not bars:
        return None
    several = len(report.runs) > 1
    return SpeedData(tuple(bars), tuple(run.label if several else "" for _, run, _ in timed))


def is_pruned(name: str) -> bool:
    """Whether a timed row is of the pruned network."""
    return "pruned" in name or "compacted" in name


def training_data(report: Report) -> TrainingData | None:
    """The course of a training run; None where nothing was evaluated."""
    if report.kind != "train" or not report.runs[0].stages or report.metric is None:
        return None
    metric, stages = report.metric, report.runs[0].stages
    marked = [index for index, stage in enumerate(stages) if stage.best]
    return TrainingData(
        tuple(stage.index for stage in stages),
        _complete([stage.train_loss for stage in stages]),
        _complete([stage.metrics.get("loss") for stage in stages]),
        tuple(metric.shown(stage.metrics.get(metric.name, math.nan)) for stage in stages),
        f"{metric.axis}, validation",
        marked[-1] if marked else None,
    )


def _complete(values: list[float | None]) -> tuple[float, ...]:
    found = [value for value in values if value is not None]
    return tuple(found) if len(found) == len(values) else ()


def matrices(report: Report) -> dict[str, MatrixData]:
    """Adjacency matrices by label: the unpruned network's, then one a run; empty without any."""
    found: dict[str, MatrixData] = {}
    for run in report.runs:
        if "dense" in run.adjacency:
            found["Unpruned"] = _matrix(run, "dense")
            break
    for run in report.runs:
        if "pruned" in run.adjacency:
            found[run.label] = _matrix(run, "pruned")
    return found


def _matrix(run: Run, name: str) -> MatrixData:
    active, dense = run.adjacency[name], run.adjacency.get("dense")
    possible = dense if dense is not None and dense.shape == active.shape else active
    cells = possible.astype(np.int64) + active
    return MatrixData(np.where(active, 2, cells), int(active.sum()))


def runs_of(data: SpeedData) -> list[tuple[int, list[Bar]]]:
    """The bars of each run, in order."""
    return [(run, list(bars)) for run, bars in groupby(data.bars, key=lambda bar: bar.run)]
