"""The recommendation as a figure: every optimiser's score with its interval, budget by budget."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from leanline.report.svg import FAINT, PAPER, RULES
from leanline.report.tune_bench.names import short
from leanline.tuning.statistics.recommend import BEST, EQUAL, INCOMPLETE, WORSE

ACROSS = 7
"""Panels in a row."""

_LOOKS = {
    BEST: (RULES[0], "o", True),
    EQUAL: (RULES[0], "o", False),
    WORSE: (FAINT, "|", True),
    INCOMPLETE: (RULES[1], "x", True),
}
"""Colour, marker and whether it is filled, by verdict."""

_WORDS = {
    BEST: "highest mean",
    EQUAL: "not distinguishable from it",
    WORSE: "significantly worse",
    INCOMPLETE: "not run on all spaces",
}


@dataclass(frozen=True)
class Score:
    """One optimiser at one budget.

    Attributes:
        optimiser: Its name.
        verdict: See `leanline.tuning.recommend`.
        mean: Mean over spaces of the mean fraction of the optimum.
        low: Lower end of its interval; not a number where there is none.
        high: Upper end.
    """

    optimiser: str
    verdict: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class ScoreData:
    """The numbers of the figure.

    Attributes:
        names: The optimisers, the best over all budgets first.
        budgets: Scores by budget.
    """

    names: tuple[str, ...]
    budgets: dict[int, tuple[Score, ...]]


def score_data(recommended: pd.DataFrame) -> ScoreData:
    """Scores of the table that `leanline.tuning.recommend` returns."""
    order = recommended.groupby("optimiser", sort=False)["mean"].mean()
    names = tuple(str(name) for name in order.sort_values(ascending=False, kind="stable").index)
    budgets = {
        int(budget): tuple(
            Score(str(row.optimiser), str(row.verdict), row.mean, row.low, row.high)
            for row in part[["optimiser", "verdict", "mean", "low", "high"]].itertuples(index=False)
        )
        for budget, part in recommended.groupby("budget")
    }
    return ScoreData(names, budgets)


def score_size(data: ScoreData) -> tuple[float, float]:
    """Width and height in inches."""
    rows = math.ceil(len(data.budgets) / ACROSS)
    return 8.6, 0.7 + rows * (0.6 + 0.2 * len(data.names))


def draw_scores(figure: Figure, data: ScoreData) -> None:
    """Draw a panel a budget, each with its own scale, a row an optimiser."""
    across = min(ACROSS, len(data.budgets))
    down = math.ceil(len(data.budgets) / across)
    grid = figure.subplots(down, across, sharey=True, squeeze=False)
    for axes, (budget, scores) in zip(grid.flat, data.budgets.items(), strict=False):
        _draw(axes, data.names, scores)
        axes.set_title(f"{budget:,}", fontsize=9.5, fontweight="bold")
    for axes in list(grid.flat)[len(data.budgets) :]:
        axes.set_visible(False)
    seen = {score.verdict for scores in data.budgets.values() for score in scores}
    handles = [_mark(verdict) for verdict in _LOOKS if verdict in seen]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=8.5)
    figure.suptitle("evaluations", fontsize=9.0)


def _draw(axes: Axes, names: tuple[str, ...], scores: tuple[Score, ...]) -> None:
    for score in scores:
        colour, marker, filled = _LOOKS[score.verdict]
        row = names.index(score.optimiser)
        axes.plot([score.low, score.high], [row, row], color=colour, linewidth=1.3)
        axes.plot(
            score.mean,
            row,
            color=colour,
            marker=marker,
            markersize=5,
            markerfacecolor=colour if filled else PAPER,
        )
    axes.set_yticks(range(len(names)), [short(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=7.5)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=2, min_n_ticks=2))
    axes.grid(True)


def _mark(verdict: str) -> Line2D:
    colour, marker, filled = _LOOKS[verdict]
    return Line2D(
        [],
        [],
        color=colour,
        marker=marker,
        markersize=5,
        linewidth=1.3,
        markerfacecolor=colour if filled else PAPER,
        label=_WORDS[verdict],
    )
