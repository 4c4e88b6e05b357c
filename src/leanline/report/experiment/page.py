"""An experiment's report: one HTML file that needs nothing else, and its figures as SVG files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leanline.records.atomic import write_text
from leanline.report import tables
from leanline.report.build import Drawn, page
from leanline.report.experiment import comparison
from leanline.report.experiment.batches import batch_data, draw_batches
from leanline.report.experiment.curves import AXES, curves_data, draw_curves
from leanline.report.experiment.data import Experiment, read_experiment
from leanline.report.experiment.pictures import answers_gallery, data_gallery, structure_data
from leanline.report.figure_files import FigureFiles
from leanline.report.figures import draw_matrix
from leanline.report.gallery import Gallery
from leanline.report.tables import Table
from leanline.types import PathLike
from leanline.version import __version__

FILE = "report.html"
FIGURES = "figures"


@dataclass(frozen=True)
class PairSection:
    """What the page shows of a network on a data set.

    Attributes:
        anchor: a word that no other section has.
        heading: its names.
        verdicts: sentences.
        curves: Figure 4.3.
        filters: the rules at equal filters.
        times: the rules at equal time.
        batches: Figure 4.4.
        batch_times: its numbers.
        matrices: Figure A2.
        answers: pictures before and after.
    """

    anchor: str
    heading: str
    verdicts: tuple[str, ...]
    curves: tuple[Drawn, ...]
    filters: Table | None
    times: Table | None
    batches: Drawn | None
    batch_times: Table | None
    matrices: tuple[Drawn, ...]
    answers: Gallery | None


def build_experiment(folder: PathLike) -> Path:
    """Write the report and the figures of an experiment into its folder.

    Args:
        folder: a folder of `leanline experiment`, finished or not.

    Returns:
        The file ``report.html``; figures are in the folder ``figures`` beside it.

    Raises:
        RunError: it is no such folder, something in it is damaged, or it cannot be written.
        CheckpointError: tensors in it are damaged.
    """
    experiment = read_experiment(folder)
    figures = FigureFiles(experiment.folder / FIGURES)
    file = experiment.folder / FILE
    write_text(file, page("experiment.html.jinja", _context(experiment, figures)))
    return file


def _context(experiment: Experiment, figures: FigureFiles) -> dict[str, Any]:
    done = int((experiment.results["stage"] > 0).sum()) if len(experiment.results) else 0
    galleries = {data: data_gallery(experiment, data) for data in experiment.config["data"]}
    return {
        "experiment": experiment,
        "version": __version__,
        "missing": experiment.expected() - done,
        "sections": [_section(experiment, pair, figures) for pair in experiment.pairs],
        "networks": comparison.networks_table(experiment.networks) if experiment.networks else None,
        "galleries": {name: gallery for name, gallery in galleries.items() if gallery},
        "settings": tables.settings_of(experiment.config),
    }


def _section(experiment: Experiment, pair: tuple[str, str], figures: FigureFiles) -> PairSection:
    name = _word("--".join(pair))
    curves = []
    for axis in AXES:
        data = curves_data(experiment, pair, axis)
        if data is not None:
            told = "; ".join(
                f"{curve.label} from {curve.mean[0][1]:.4g} to {curve.mean[-1][1]:.4g}"
                for curve in data.curves
                if curve.mean
            )
            alt = f"Line chart of {data.y_label} against {data.x_label}: {told}"
            curves.append(
                figures.draw(draw_curves, data, (8.6, 4.2), f"{name}-{axis}", alt, data.x_label)
            )
    batches = batch_data(experiment, pair)
    chart = None
    if batches is not None:
        alt = "Line chart of speed-ups against the batch size"
        chart = figures.draw(draw_batches, batches, (8.6, 4.2), f"{name}-batches", alt)
    matrices = tuple(
        figures.draw(
            draw_matrix,
            matrix,
            (3.0, 3.0),
            f"{name}-matrix-{index}",
            f"Adjacency matrix of {label}: {matrix.active:,} active filters",
            f"{label}: {matrix.active:,} active filters",
        )
        for index, (label, matrix) in enumerate(structure_data(experiment, pair).items())
    )
    return PairSection(
        name,
        f"{pair[0]} on {pair[1]}",
        tuple(comparison.verdicts(experiment, pair)),
        tuple(curves),
        comparison.filters_table(experiment, pair),
        comparison.time_table(experiment, pair),
        chart,
        comparison.batch_table(batches) if batches else None,
        matrices,
        answers_gallery(experiment, pair),
    )


def _word(name: str) -> str:
    """A name as a word for files and anchors."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name)
