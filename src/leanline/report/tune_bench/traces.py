"""Figures A7 to A15: mean fraction of the optimum against evaluations used, for one space."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from leanline.report.figures import DASHES, MARKERS, log_ticks, rule_colour
from leanline.report.svg import FAINT
from leanline.report.tune_bench.names import short
from leanline.tuning import bootstrap_intervals, summarise

Spread: TypeAlias = Literal["deviation", "interval"]
"""What error bars are: one standard deviation of the runs, as in the thesis, or a bootstrap
interval of their mean."""

FAMILIES = {
    "Local search": ("FirstMLS", "BestMLS", "FirstILS", "BestILS", "FirstTabu", "BestTabu"),
    "Populations": (
        "GeneticAlgorithm",
        "GeneticLocalSearch",
        "ParticleSwarm",
        "DifferentialEvolution",
    ),
    "Annealing, models, chance": (
        "SimulatedAnnealing",
        "DualAnnealing",
        "BasinHopping",
        "GaussianProcess",
        "SMAC",
        "RandomSampling",
    ),
}
"""Optimisers that are drawn into one panel, at most as many as there are colours."""

OTHERS = "Others"
MOST_TICKS = 8


@dataclass(frozen=True)
class TraceLine:
    """One optimiser on one space.

    Attributes:
        name: The optimiser.
        evaluations: Mean number of evaluations used, a budget an item.
        mean: Mean fraction of the optimum.
        low: Lower end of the error bar.
        high: Upper end.
    """

    name: str
    evaluations: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class TraceData:
    """The numbers of Figures A7 to A15.

    Attributes:
        lines: The optimisers.
        budgets: Ticks of the horizontal axis.
        bars: What the error bars are, in words.
    """

    lines: tuple[TraceLine, ...]
    budgets: tuple[int, ...]
    bars: str

    def panels(self) -> dict[str, tuple[TraceLine, ...]]:
        """The lines by family; all in one panel without a heading where there are few."""
        if len(self.lines) <= len(MARKERS):
            return {"": self.lines}
        found = {
            family: tuple(line for line in self.lines if line.name in names)
            for family, names in FAMILIES.items()
        }
        known = {name for names in FAMILIES.values() for name in names}
        others = [line for line in self.lines if line.name not in known]
        for start in range(0, len(others), len(MARKERS)):
            part = f" ({start // len(MARKERS) + 1})" if len(others) > len(MARKERS) else ""
            found[OTHERS + part] = tuple(others[start : start + len(MARKERS)])
        return {family: lines for family, lines in found.items() if lines}


def trace_data(table: pd.DataFrame, space: str, spread: Spread) -> TraceData:
    """The lines of one space.

    Args:
        table: A row a run, as `leanline.tuning.benchmark` returns it.
        space: Which of its spaces.
        spread: What the error bars are.
    """
    own = table[table["space"] == space]
    used = own.groupby(["optimiser", "budget"])["evaluations"].mean()
    if spread == "interval":
        found = bootstrap_intervals(own)
        words = f"95 % bootstrap intervals of the mean of {_count(own)} runs"
    else:
        found = summarise(own)
        found = found.assign(low=found["mean"] - found["std"], high=found["mean"] + found["std"])
        words = f"one standard deviation of {_count(own)} runs, up and down"
    lines = []
    for name, part in found.groupby("optimiser", sort=False):
        part = part.sort_values("budget")
        columns = ([float(x) for x in part[end]] for end in ("mean", "low", "high"))
        places = [float(used[(name, budget)]) for budget in part["budget"]]
        lines.append(TraceLine(str(name), tuple(places), *map(tuple, columns)))
    budgets = tuple(sorted(int(each) for each in own["budget"].unique()))
    return TraceData(tuple(lines), budgets, words)


def _count(own: pd.DataFrame) -> str:
    runs = own.groupby(["optimiser", "budget"]).size()
    least, most = int(runs.min()), int(runs.max())
    return str(most) if least == most else f"{least} to {most}"


def draw_traces(axes: Axes, data: TraceData) -> None:
    """Draw all optimisers with their error bars, as in the thesis; a colour a family."""
    panels = list(data.panels().values())
    for family, lines in enumerate(panels):
        for index, line in enumerate(lines):
            colour = rule_colour(index if len(panels) == 1 else family)
            _draw(axes, line, colour, index, 0.45)
    _frame(axes, data)
    axes.set_xlabel(f"mean number of evaluations used (log scale); bars: {data.bars}")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=2.6)


def draw_trace_panels(figure: Figure, data: TraceData) -> None:
    """Draw a panel a family, all other optimisers behind it in grey."""
    panels = data.panels()
    across = min(2, len(panels))
    down = math.ceil(len(panels) / across)
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for axes, (family, lines) in zip(grid.flat, panels.items(), strict=False):
        for line in data.lines:
            if line not in lines:
                axes.plot(line.evaluations, line.mean, color=FAINT, linewidth=0.6, alpha=0.45)
        for index, line in enumerate(lines):
            _draw(axes, line, rule_colour(index), index, 0.9)
        _frame(axes, data)
        if family:
            axes.set_title(family, loc="left", fontsize=9.5, fontweight="bold")
        axes.legend(frameon=False, loc="lower right", handlelength=2.6, fontsize=8)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    for axes in grid[:, 1:].flat:
        axes.set_ylabel("")
    figure.supxlabel(
        f"mean number of evaluations used (log scale); bars: {data.bars}", fontsize=9.0
    )


def _draw(axes: Axes, line: TraceLine, colour: str, style: int, strength: float) -> None:
    axes.vlines(line.evaluations, line.low, line.high, color=colour, linewidth=1.1, alpha=strength)
    axes.plot(
        line.evaluations,
        line.mean,
        color=colour,
        linestyle=DASHES[style % len(DASHES)],
        marker=MARKERS[style % len(MARKERS)],
        markersize=4,
        linewidth=1.5,
        label=short(line.name),
        zorder=3,
    )


def _frame(axes: Axes, data: TraceData) -> None:
    """Log x, and a y that shows all means; error bars may be cut."""
    places = [place for line in data.lines for place in line.evaluations if place > 0]
    least = min(value for line in data.lines for value in line.mean)
    margin = 0.05 * max(1 - least, 0.02)
    axes.set_ylim(least - margin, 1 + margin)
    axes.set_xscale("log")
    axes.set_xlim(min(places) / 1.15, max(*places, data.budgets[-1]) * 1.15)
    if len(data.budgets) <= MOST_TICKS:
        axes.set_xticks(data.budgets, [f"{budget:,}" for budget in data.budgets])
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        log_ticks(axes.xaxis, data.budgets[-1] / data.budgets[0])
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.4g}"))
    axes.grid(True)
    axes.set_ylabel("mean fraction of the optimum")
