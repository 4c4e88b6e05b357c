"""Figures A1 to A6: how often the optimiser of a column was better than that of a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Int64
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from leanline.report.svg import INK, PAPER, RULES
from leanline.report.tune_bench.names import short
from leanline.tuning.competition import Correction, competition

SPLITS = (200, 100, 400)
"""The highest of the low budgets; the first is shown first."""

_DARKEST = 0.6  # of a cell's colour, so that the number in it can be read


@dataclass(frozen=True, eq=False)
class Heatmap:
    """Counts for some budgets.

    Attributes:
        budgets: They, in words.
        names: The optimisers.
        counts: In how many cells the column's optimiser was significantly better than the row's.
        cells: How many there are: spaces times budgets.
    """

    budgets: str
    names: tuple[str, ...]
    counts: Int64[np.ndarray, "rows columns"]
    cells: int


@dataclass(frozen=True)
class HeatmapData:
    """The maps of one split.

    Attributes:
        maps: For the low and the high budgets; for one of them where the other has none.
        split: The highest of the low budgets.
        runs: The number of runs that the tests were told, in words.
    """

    maps: tuple[Heatmap, ...]
    split: int
    runs: str


def splits_of(budgets: Sequence[int]) -> tuple[int, ...]:
    """The splits that have budgets on both sides; if none has, one above all budgets."""
    inside = tuple(each for each in SPLITS if min(budgets) <= each < max(budgets))
    return inside or (max(budgets),)


def heatmap_data(
    table: pd.DataFrame, split: int, alpha: float, test_runs: int | None, correction: Correction
) -> HeatmapData:
    """Count significant wins.

    Args:
        table: A row a run, as `leanline.tuning.benchmark` returns it.
        split: The highest of the low budgets.
        alpha: Level of significance.
        test_runs: The number of runs that the tests are told; None: the true one.
        correction: For the number of tests.
    """
    found = competition(table, split, alpha, test_runs, correction)
    names = tuple(str(name) for name in found.low.columns)
    budgets = sorted(int(each) for each in table["budget"].unique())
    maps = []
    for counts, own in (
        (found.low, [each for each in budgets if each <= split]),
        (found.high, [each for each in budgets if each > split]),
    ):
        if own:
            cells = len(table[table["budget"].isin(own)][["space", "budget"]].drop_duplicates())
            words = f"budgets {own[0]} to {own[-1]}" if len(own) > 1 else f"budget {own[0]}"
            maps.append(Heatmap(words, names, counts.to_numpy(np.int64), cells))
    sizes = table.groupby(["optimiser", "space", "budget"]).size()
    least, most = int(sizes.min()), int(sizes.max())
    true = f"n = {most}" if least == most else f"n = {least} to {most}"
    told = f"the true {true}" if test_runs is None else f"n = {test_runs} (the true {true})"
    return HeatmapData(tuple(maps), split, told)


def draw_heatmaps(figure: Figure, data: HeatmapData) -> None:
    """Draw the maps beside each other."""
    grid = figure.subplots(1, len(data.maps), sharey=True, squeeze=False)
    for axes, heatmap in zip(grid.flat, data.maps, strict=True):
        _draw(axes, heatmap)
    grid[0, 0].set_ylabel("is worse")
    figure.supxlabel("is better", fontsize=9.0)


def heatmap_size(data: HeatmapData) -> tuple[float, float]:
    """Width and height in inches."""
    return 8.6, 1.8 + min(3.5, 0.25 * len(data.maps[0].names))


def _draw(axes: Axes, heatmap: Heatmap) -> None:
    most = max(int(heatmap.counts.max()), 1)
    for (row, column), count in np.ndenumerate(heatmap.counts):
        if not count:
            continue
        shade = _DARKEST * int(count) / most
        axes.add_patch(
            Rectangle(
                (column - 0.5, row - 0.5),
                1,
                1,
                facecolor=RULES[0],
                alpha=shade,
                edgecolor=PAPER,
                linewidth=0.8,
            )
        )
        axes.text(column, row, str(count), ha="center", va="center", fontsize=7, color=INK)
    places = range(len(heatmap.names))
    axes.set_xlim(-0.5, len(heatmap.names) - 0.5)
    axes.set_ylim(len(heatmap.names) - 0.5, -0.5)
    axes.set_aspect("equal")
    names = [short(name) for name in heatmap.names]
    axes.set_xticks(places, names, rotation=55, ha="right", rotation_mode="anchor")
    axes.set_yticks(places, names)
    axes.tick_params(length=0, labelsize=7.5)
    axes.spines[:].set_visible(False)
    axes.set_title(
        f"{heatmap.budgets}: {heatmap.cells} cells", loc="left", fontsize=9.5, fontweight="bold"
    )
