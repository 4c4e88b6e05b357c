"""A run folder's report: one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from leanline.records.atomic import write_text
from leanline.report import figures, sentences, series, tables
from leanline.report.data import Report
from leanline.report.evidence import Evidence
from leanline.report.gallery import make_gallery
from leanline.report.metrics import power_of_ten, significant
from leanline.report.reading import read
from leanline.report.svg import draw_svg
from leanline.types import PathLike
from leanline.version import __version__

FILE = "report.html"

FILES = {
    "config.json": "the settings, and the versions of leanline and PyTorch",
    "stages.jsonl": "one row a stage",
    "evidence.json": "the figures measured at the end",
    "evidence.safetensors": "the pictures and the adjacency matrices",
    "network.safetensors": "the pruned network, made small",
    "checkpoints": "weights after the last stage",
    "log.txt": "the log",
}
"""What may be in a run folder."""


@dataclass(frozen=True)
class Drawn:
    """A figure on the page with its caption."""

    svg: Markup
    caption: str = ""


def build(folder: PathLike) -> Path:
    """Write the report of a train, prune or comparison folder into it.

    Args:
        folder: a folder of `leanline train`, `prune` or `demo`, finished or not.

    Returns:
        The file ``report.html``. It is whole at every moment: an earlier one is replaced at once.

    Raises:
        RunError: it is no such folder, something in it is damaged, or the report cannot be
            written.
        CheckpointError: the tensors of its evidence are damaged.
    """
    report = read(folder)
    file = report.folder / FILE
    write_text(file, render(report))
    return file


def render(report: Report) -> str:
    """The report as the text of an HTML page."""
    return page("report.html.jinja", _context(report))


def page(template: str, context: Mapping[str, Any]) -> str:
    """A page of this package's templates; whatever it is given is escaped, but for `Markup`."""
    environment = Environment(
        loader=PackageLoader("leanline.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(context) + "\n"


def _context(report: Report) -> dict[str, Any]:
    evidence = [run.evidence for run in report.runs if run.evidence is not None]
    return {
        "report": report,
        "version": __version__,
        "measure": _measure(report),
        "headline": sentences.headline(report),
        "more": sentences.more_results(report),
        "status": sentences.status(report),
        "tiles": sentences.tiles(report),
        "terms": sentences.terms(report),
        "accuracy": _accuracy(report),
        "accuracy_table": tables.accuracy_table(report),
        "dense_on": series.dense_level(report)[1],
        "training": _training(report),
        "speed": _speed(report),
        "speed_table": tables.speed_table(report),
        "timing_note": sentences.timing_note(report),
        "called_on": next((sentences.call(run) for run in report.runs if run.evidence), ""),
        "untimed": {name: why for each in evidence for name, why in each.untimed.items()},
        "matrices": _matrices(report),
        "gallery": make_gallery(report),
        "sizes": tables.size_table(report),
        "deviation": _deviation(evidence),
        "machine": tables.machine_table(report),
        "settings": tables.settings_table(report),
        "stages": tables.stage_table(report),
        "commands": list(dict.fromkeys(each.command for each in evidence if each.command)),
        "files": _files(report),
    }


def _measure(report: Report) -> str:
    """The main metric as the beginning of a heading."""
    label = report.metric.label if report.metric else "accuracy"
    return label[:1].upper() + label[1:]


def _deviation(evidence: list[Evidence]) -> str:
    found = [each.deviation for each in evidence if each.deviation is not None]
    return power_of_ten(max(found)) if found else ""


def _accuracy(report: Report) -> Drawn | None:
    data = series.accuracy_data(report)
    if data is None:
        return None
    unit = "%" if data.in_percent else "filters"
    told = "; ".join(
        f"{curve.label} from {significant(curve.values[0])} at {significant(curve.kept[0])} {unit} "
        f"to {significant(curve.values[-1])} at {significant(curve.kept[-1])} {unit}"
        for curve in data.curves
    )
    alt = f"Line chart of {data.axis} against filters kept: {told}. {data.dense_label}".strip()
    return Drawn(draw_svg(figures.draw_accuracy, data, (8.6, 3.8), "accuracy", alt))


def _training(report: Report) -> list[Drawn]:
    data = series.training_data(report)
    if data is None:
        return []
    alt = f"Line chart of {data.axis} on validation pictures against training steps"
    drawn = [Drawn(draw_svg(figures.draw_training, data, (8.6, 3.2), "training", alt))]
    if data.val_loss or data.train_loss:
        alt = "Line chart of the loss on training and validation pictures against training steps"
        drawn.append(Drawn(draw_svg(figures.draw_losses, data, (8.6, 3.0), "losses", alt)))
    return drawn


def _speed(report: Report) -> Drawn | None:
    data = series.speed_data(report)
    if data is None:
        return None
    groups = [group for group in data.groups if group]
    told = "; ".join(
        (f"{report.runs[bar.run].label}, " if groups else "") + f"{bar.name} {bar.note}"
        for bar in data.bars
    )
    height = 0.8 + 0.27 * (len(data.bars) + len(groups))
    alt = f"Bar chart of milliseconds per call on a log axis: {told}"
    return Drawn(draw_svg(figures.draw_speed, data, (8.6, height), "speed", alt))


def _matrices(report: Report) -> list[Drawn]:
    return [
        Drawn(
            draw_svg(
                figures.draw_matrix,
                data,
                (3.0, 3.0),
                f"matrix{index}",
                f"Adjacency matrix of {label}: {data.active:,} active filters",
            ),
            f"{label}: {data.active:,} active filters",
        )
        for index, (label, data) in enumerate(series.matrices(report).items())
    ]


def _files(report: Report) -> list[tuple[str, str]]:
    """What the folders hold, as paths below the report's folder."""
    folders = dict.fromkeys([report.folder, *(run.folder for run in report.runs)])
    return [
        ((folder / name).relative_to(report.folder).as_posix(), meaning)
        for folder in folders
        for name, meaning in FILES.items()
        if (folder / name).is_file()
        or ((folder / name).is_dir() and any((folder / name).iterdir()))
    ]
