"""Figure 4.3: a metric against filters, multiply-accumulates or milliseconds, rule by rule."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from leanline.experiments.compare import place_of
from leanline.experiments.results import DENSE
from leanline.report.experiment.data import Experiment, rule_label
from leanline.report.figures import DASHES, log_ticks, rule_colour
from leanline.report.metrics import Metric
from leanline.report.svg import FAINT

AXES = {
    "live": "filters kept, % of the unpruned network's",
    "macs": "multiply-accumulates, % of the unpruned network's",
    "ms": "milliseconds a picture",
}
"""What there is on the horizontal axis, and how it is called."""

Points = tuple[tuple[float, float], ...]
"""Place and value, from dense to sparse."""


@dataclass(frozen=True)
class RuleCurve:
    """One rule.

    Attributes:
        label: its name.
        runs: a line for each seed.
        mean: of the seeds at each stage: the geometric mean of their places, the mean of their
            values; only of stages that all seeds have.
    """

    label: str
    runs: tuple[Points, ...]
    mean: Points


@dataclass(frozen=True)
class CurvesData:
    """The numbers of Figure 4.3.

    Attributes:
        curves: the rules.
        dense: value of the unpruned network.
        x_label: of the horizontal axis.
        y_label: of the vertical axis.
    """

    curves: tuple[RuleCurve, ...]
    dense: float
    x_label: str
    y_label: str


def curves_data(experiment: Experiment, pair: tuple[str, str], axis: str) -> CurvesData | None:
    """The curves of one network and data set, on validation pictures.

    Args:
        experiment: the experiment.
        pair: network and data set.
        axis: a key of `AXES`.

    Returns:
        None where no stage has a place on that axis.
    """
    table, metric = experiment.of_pair(pair), experiment.metric(pair)
    dense = table[table["criterion"] == DENSE]
    curves = []
    for rule in experiment.rules(pair):
        found = table[table["criterion"] == rule]
        runs = {
            int(seed): _points(pd.concat([dense, run.sort_values("stage")]), axis, metric.name)
            for seed, run in found.groupby("seed")
        }
        runs = {seed: points for seed, points in runs.items() if len(points) > 1}
        if runs:
            lines = tuple(
                tuple((place, metric.shown(value)) for place, value in points.values())
                for points in runs.values()
            )
            curves.append(RuleCurve(rule_label(rule), lines, _mean(list(runs.values()), metric)))
    if not curves:
        return None
    value = float(dense[f"val_{metric.name}"].iloc[0])
    y_label = f"{metric.axis}, validation"
    return CurvesData(tuple(curves), metric.shown(value), AXES[axis], y_label)


def _points(run: pd.DataFrame, axis: str, metric: str) -> dict[int, tuple[float, float]]:
    """Place and value of each stage of a run that has both."""
    places = place_of(run, axis)
    if axis == "live":
        places = 100 * places
    if axis == "macs":
        places = 100 * places / run["dense_macs"].to_numpy(float)
    values = run[f"val_{metric}"].to_numpy(float)
    stages = run["stage"].to_numpy(int)
    return {
        int(stage): (float(place), float(value))
        for stage, place, value in zip(stages, places, values, strict=True)
        if math.isfinite(place) and math.isfinite(value)
    }


def _mean(runs: list[dict[int, tuple[float, float]]], metric: Metric) -> Points:
    common = sorted(set.intersection(*(set(run) for run in runs)))
    return tuple(
        (
            math.exp(fmean(math.log(run[stage][0]) for run in runs)),
            metric.shown(fmean(run[stage][1] for run in runs)),
        )
        for stage in common
    )


def draw_curves(axes: Axes, data: CurvesData) -> None:
    """Draw every run thin and the mean thick, from dense on the left to sparse on the right."""
    for index, curve in enumerate(data.curves):
        colour = rule_colour(index)
        for run in curve.runs:
            axes.plot(*zip(*run, strict=True), color=colour, linewidth=0.7, alpha=0.45)
        axes.plot(
            *zip(*curve.mean, strict=True),
            color=colour,
            linestyle=DASHES[index % len(DASHES)],
            linewidth=2.2,
            label=curve.label,
            zorder=3,
        )
    axes.axhline(data.dense, color=FAINT, linewidth=1.0, linestyle=(0, (4, 3)))
    places = [place for curve in data.curves for run in curve.runs for place, _ in run]
    axes.set_xscale("log")
    axes.set_xlim(max(places) * 1.08, min(places) / 1.08)
    log_ticks(axes.xaxis, max(places) / min(places))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.4g}"))
    axes.grid(True)
    axes.set_xlabel(f"{data.x_label} (log scale, less to the right)")
    axes.set_ylabel(data.y_label)
    axes.legend(frameon=False, loc="lower left", handlelength=2.6)
