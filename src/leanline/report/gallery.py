"""The table of pictures: what goes in, what is right, what each network says, where it is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from leanline.report import pictures as pixels
from leanline.report.data import Report, Run
from leanline.report.evidence import Evidence, Pictures
from leanline.report.views import Cell, GreyViews, LabelViews, Swatch, Views, class_name

BESIDE = 2
"""Errors of so many networks stand beside the outputs; of more, beneath them."""


@dataclass(frozen=True)
class Row:
    """A row of pictures; cells may be empty."""

    heading: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Gallery:
    """All pictures, with a legend.

    Attributes:
        columns: headings.
        rows: one for each test picture, and one for its errors where those stand beneath.
        labelled: whether the pictures are classes, not grey values.
        legend: of the pictures.
        error_legend: of the errors.
        size: height and width of the pictures in pixels.
        factor: by how much they are shown smaller.
        peak_known: whether PSNR is against the range that the metric uses, not that of the shown
            pictures.
        left_out: labels of runs whose pictures are of other data.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    labelled: bool
    legend: tuple[Swatch, ...]
    error_legend: tuple[Swatch, ...]
    size: tuple[int, int]
    factor: int
    peak_known: bool
    left_out: tuple[str, ...]


def make_gallery(report: Report) -> Gallery | None:
    """Make the pictures of all runs; None where there are none."""
    found = [(run, run.pictures) for run in report.runs if run.pictures is not None]
    if not found:
        return None
    first = found[0][1]
    outputs: dict[str, np.ndarray] = {}
    left_out = []
    for run, pictures in found:
        if not _same(first, pictures):
            left_out.append(run.label)
            continue
        if "dense" in pictures.outputs:
            outputs.setdefault("Unpruned", pictures.outputs["dense"])
        for name in ("pruned", "trained"):
            if name in pictures.outputs:
                outputs[run.label] = pictures.outputs[name]
    about = _about([run for run, _ in found])
    return gallery_of(first, outputs, about, tuple(left_out))


def gallery_of(
    first: Pictures,
    outputs: Mapping[str, np.ndarray],
    about: Evidence,
    left_out: tuple[str, ...] = (),
) -> Gallery:
    """The pictures of a task with what networks make of them.

    Args:
        first: the pictures.
        outputs: by the label of the network; there may be none.
        about: names of classes, range of grey values.
        left_out: labels of networks that were judged on other pictures.
    """
    height, width = (int(size) for size in first.images.shape[-2:])
    factor = pixels.reduction(height, width)
    kind = LabelViews if first.labelled else GreyViews
    views = kind(first, outputs, about, factor)
    what = "Wrong" if first.labelled else "Difference"
    beside = len(outputs) <= BESIDE
    errors = tuple(f"{what}: {label}" for label in outputs) if beside else ()
    return Gallery(
        ("Input", "Truth", *outputs, *errors),
        _rows(views, len(first.images), what, beside),
        first.labelled,
        views.legend(),
        views.error_legend() if outputs else (),
        (height, width),
        factor,
        about.data_range is not None,
        left_out,
    )


def background_share(report: Report) -> tuple[str, float] | None:
    """The commonest class of the pictures that are shown, and its share of the pixels.

    That is how often a network is right that says nothing else.
    """
    for run in report.runs:
        if run.pictures is not None and run.pictures.labelled:
            about, truth = _about([run]), run.pictures.truth
            counted = truth if about.ignore is None else truth[truth != about.ignore]
            labels, counts = np.unique(counted, return_counts=True)
            if counts.size:
                most = int(counts.argmax())
                return class_name(int(labels[most]), about), float(counts[most] / counts.sum())
    return None


def _rows(views: Views, count: int, what: str, beside: bool) -> tuple[Row, ...]:
    rows = []
    for index in range(count):
        pictures, errors = (*views.given(index), *views.answers(index)), views.errors(index)
        if beside:
            rows.append(Row(f"Picture {index + 1}", (*pictures, *errors)))
        else:
            rows.append(Row(f"Picture {index + 1}", pictures))
            rows.append(Row(what, (None, None, *errors)))
    return tuple(rows)


def _about(runs: list[Run]) -> Evidence:
    return next((run.evidence for run in runs if run.evidence is not None), Evidence())


def _same(first: Pictures, other: Pictures) -> bool:
    return np.array_equal(first.images, other.images) and np.array_equal(first.truth, other.truth)
