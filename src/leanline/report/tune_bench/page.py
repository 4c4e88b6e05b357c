"""A tuning benchmark's report: one HTML file that needs nothing else, and its figures as SVG."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from leanline.errors import ConfigError
from leanline.experiments.tune_bench.run import read_tune_bench
from leanline.records.atomic import write_text
from leanline.report.build import FILE, Drawn, page
from leanline.report.experiment.page import FIGURES
from leanline.report.figure_files import FigureFiles
from leanline.report.tables import Table, settings_of
from leanline.report.tune_bench import tables
from leanline.report.tune_bench.heatmaps import (
    draw_heatmaps,
    heatmap_data,
    heatmap_size,
    splits_of,
)
from leanline.report.tune_bench.scores import draw_scores, score_data, score_size
from leanline.report.tune_bench.traces import draw_trace_panels, draw_traces, trace_data
from leanline.tuning import Ranks, mean_ranks, recommend
from leanline.tuning.competition import Correction
from leanline.tuning.statistics.recommend import BEST, EQUAL
from leanline.types import PathLike
from leanline.version import __version__

MOST_LISTED = 5
"""Optimisers that a sentence lists; the table has them all."""


@dataclass(frozen=True)
class SpaceSection:
    """What the page shows of a space.

    Attributes:
        anchor: a word that no other section has.
        heading: its name.
        facts: what is known of it.
        recommended: for each budget what to use on it; None where it is the only space.
        panels: the optimisers by family, with intervals.
        thesis: the figure as in the thesis.
    """

    anchor: str
    heading: str
    facts: Table
    recommended: Table | None
    panels: Drawn
    thesis: Drawn


@dataclass(frozen=True)
class MapSection:
    """Competition maps of all spaces, or of those of one kernel.

    Attributes:
        heading: what they are of.
        maps: as in the thesis.
        corrected: for the number of tests.
    """

    heading: str
    maps: tuple[Drawn, ...]
    corrected: tuple[Drawn, ...]


def build_tune_bench(folder: PathLike) -> Path:
    """Write the report and the figures of a tuning benchmark into its folder.

    Args:
        folder: a folder of `leanline tune-bench`, finished or not.

    Returns:
        The file ``report.html``; figures are in the folder ``figures`` beside it.

    Raises:
        RunError: it is no such folder, something in it is damaged, or it cannot be written.
    """
    path = Path(folder).absolute()
    settings, table = read_tune_bench(path)
    context: dict[str, Any] = {
        "name": path.name,
        "version": __version__,
        "config": settings["config"],
        "command": settings.get("command", ""),
        "spaces": tables.space_table(settings["spaces"]),
        "optimisers": tables.optimiser_table(settings["settings"]),
        "settings": settings_of({**settings["config"], "versions": settings["versions"]}),
        "results": None,
    }
    if len(table):
        context["results"] = _results(settings, table, FigureFiles(path / FIGURES))
    write_text(path / FILE, page("tune-bench.html.jinja", context))
    return path / FILE


def _results(
    settings: Mapping[str, Any], table: pd.DataFrame, figures: FigureFiles
) -> dict[str, Any]:
    config = settings["config"]
    recommended = recommend(table, alpha=config["alpha"])
    scores = score_data(recommended)
    several = table["space"].nunique() > 1
    told = "; ".join(sentences(recommended))
    return {
        "headline": sentences(recommended),
        "recommended": tables.recommendation_table(recommended),
        "scores": figures.draw_panels(
            draw_scores,
            scores,
            score_size(scores),
            "scores",
            f"Mean fraction of the optimum of every optimiser at every budget. {told}",
        ),
        "score_table": tables.score_table(recommended),
        "ranks": tables.rank_table(_ranks(table, config["alpha"])),
        "maps": _maps(table, config, figures),
        "sections": [
            _section(space, table, several, config["alpha"], figures)
            for space in settings["spaces"]
            if (table["space"] == space["name"]).any()  # a later call may not be finished
        ],
    }


def sentences(recommended: pd.DataFrame) -> list[str]:
    """What to use, a sentence for neighbouring budgets of which the same is to be said."""
    found: list[tuple[str, list[int]]] = []
    for budget, part in recommended.groupby("budget"):
        best = list(part.loc[part["verdict"] == BEST, "optimiser"])
        if not best:
            continue
        equal = list(part.loc[part["verdict"] == EQUAL, "optimiser"])
        listed = ", ".join(sorted(equal)) if len(equal) <= MOST_LISTED else f"{len(equal)} others"
        tied = f"; as good, as far as can be told: {listed}" if equal else ""
        advice = f"use {best[0]}{tied}."
        if found and found[-1][0] == advice:
            found[-1][1].append(int(budget))
        else:
            found.append((advice, [int(budget)]))
    return [
        f"For {budgets[0]:,}{f' to {budgets[-1]:,}' if len(budgets) > 1 else ''} evaluations "
        f"{advice}"
        for advice, budgets in found
    ]


def _ranks(table: pd.DataFrame, alpha: float) -> dict[int, Ranks]:
    found = {}
    for budget in sorted(int(each) for each in table["budget"].unique()):
        try:
            found[budget] = mean_ranks(table, budget, alpha)
        except ConfigError:  # too few spaces or optimisers to rank
            continue
    return found


def _maps(
    table: pd.DataFrame, config: Mapping[str, Any], figures: FigureFiles
) -> tuple[MapSection, ...]:
    if table["optimiser"].nunique() < 2:
        return ()
    parts = {"All spaces": table}
    if table["kernel"].nunique() > 1:
        parts |= {str(kernel): part for kernel, part in table.groupby("kernel", sort=False)}
    sections = []
    for index, (heading, part) in enumerate(parts.items()):
        drawn: dict[Correction, list[Drawn]] = {"none": [], "holm": []}
        splits = splits_of([int(each) for each in part["budget"].unique()])
        for correction, maps in drawn.items():
            for split in splits if correction == "none" or not index else splits[:1]:
                data = heatmap_data(part, split, config["alpha"], config["test_runs"], correction)
                corrected = "corrected by Holm, " if correction == "holm" else ""
                caption = f"Split at {split} evaluations, {corrected}{data.runs}."
                maps.append(
                    figures.draw_panels(
                        draw_heatmaps,
                        data,
                        heatmap_size(data),
                        f"competition-{_word(heading)}-{index}-{split}-{correction}",
                        f"Competition map of {heading}: how often the optimiser of a column was "
                        f"significantly better than that of a row. {caption}",
                        caption,
                    )
                )
        sections.append(MapSection(heading, tuple(drawn["none"]), tuple(drawn["holm"])))
    return tuple(sections)


def _section(
    space: Mapping[str, Any], table: pd.DataFrame, several: bool, alpha: float, figures: FigureFiles
) -> SpaceSection:
    name = str(space["name"])
    own = table[table["space"] == name]
    word = f"space-{_word(name)}-{space['sha256'][:8]}"
    intervals, deviations = trace_data(own, name, "interval"), trace_data(own, name, "deviation")
    told = "; ".join(
        f"{line.name} from {line.mean[0]:.3f} to {line.mean[-1]:.3f}" for line in intervals.lines
    )
    alt = f"Line chart of the mean fraction of the optimum against evaluations used: {told}"
    few = len(intervals.panels()) == 1
    return SpaceSection(
        word,
        name,
        tables.one_space_table(space),
        tables.recommendation_table(recommend(own, alpha=alpha)) if several else None,
        figures.draw_panels(
            draw_trace_panels, intervals, (8.6, 3.8 if few else 6.2), f"{word}-intervals", alt
        ),
        figures.draw(draw_traces, deviations, (8.6, 4.6), f"{word}-thesis", alt),
    )


def _word(name: str) -> str:
    """A name as a word for files and anchors."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name)
