"""The table of pictures: what goes in, what is right, what each network says, where it is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from leanline.report import pictures as pixels
from leanline.report.data import Report, Run
from leanline.report.evidence import Evidence, Pictures
from leanline.report.metrics import Metric, metric_named, significant


@dataclass(frozen=True)
class Cell:
    """A picture on the page.

    Attributes:
        source: PNG as a data URI.
        alt: what it shows, in words.
        note: its score.
    """

    source: str
    alt: str
    note: str = ""


@dataclass(frozen=True)
class Row:
    """A row of pictures; cells may be empty."""

    heading: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Swatch:
    """A colour of the legend and what it means."""

    colour: str
    meaning: str


@dataclass(frozen=True)
class Gallery:
    """All pictures, with a legend.

    Attributes:
        columns: headings.
        rows: for each test picture one row of pictures and one of errors.
        legend: of the pictures.
        error_legend: of the errors.
        size: height and width of the pictures in pixels.
        factor: by how much they are shown smaller.
        left_out: labels of runs whose pictures are of other data.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    legend: tuple[Swatch, ...]
    error_legend: tuple[Swatch, ...]
    size: tuple[int, int]
    factor: int
    left_out: tuple[str, ...]


def make_gallery(report: Report) -> Gallery | None:
    """Make the pictures of all runs; None where there are none."""
    shown = [run for run in report.runs if run.pictures is not None]
    if not shown or shown[0].pictures is None:
        return None
    first = shown[0].pictures
    outputs: dict[str, np.ndarray] = {}
    left_out = []
    for run in shown:
        if run.pictures is None:
            continue
        if not _same(first, run.pictures):
            left_out.append(run.label)
            continue
        if "dense" in run.pictures.outputs:
            outputs.setdefault("Unpruned", run.pictures.outputs["dense"])
        for name in ("pruned", "trained"):
            if name in run.pictures.outputs:
                outputs[run.label] = run.pictures.outputs[name]
    about = _about(shown)
    columns = ("Input", "Truth", *outputs)
    height, width = (int(size) for size in first.images.shape[-2:])
    factor = pixels.reduction(height, width)
    if first.labelled:
        rows = _labelled(first, outputs, about, factor)
        legends = _class_legend(first, outputs, about), _wrong_legend(about)
    else:
        scale = _scale(first, outputs)
        rows = _grey(first, outputs, about, factor, scale)
        legends = (), _difference_legend(scale)
    return Gallery(columns, tuple(rows), *legends, (height, width), factor, tuple(left_out))


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
                return _class_name(int(labels[most]), about), float(counts[most] / counts.sum())
    return None


def _about(runs: list[Run]) -> Evidence:
    return next((run.evidence for run in runs if run.evidence is not None), Evidence())


def _same(first: Pictures, other: Pictures) -> bool:
    return np.array_equal(first.images, other.images) and np.array_equal(first.truth, other.truth)


def _labelled(
    shown: Pictures, outputs: Mapping[str, np.ndarray], about: Evidence, factor: int
) -> list[Row]:
    rows, ignore = [], about.ignore
    for index, (image, truth) in enumerate(zip(shown.images, shown.truth, strict=True)):
        name = f"Picture {index + 1}"
        small = pixels.thin(truth, factor)
        scores = {
            label: pixels.accuracy(output[index], truth, ignore)
            for label, output in outputs.items()
        }
        answers = [
            Cell(
                pixels.png(pixels.colour_labels(pixels.thin(output[index], factor))),
                f"{name}: classes by {label}",
                f"{_ACCURACY.text(scores[label])} right",
            )
            for label, output in outputs.items()
        ]
        right = Cell(pixels.png(pixels.colour_labels(small, ignore)), f"{name}: true classes")
        rows.append(Row(name, (_input(image, name, factor), right, *answers)))
        errors = [
            Cell(
                pixels.png(pixels.colour_errors(pixels.thin(output[index], factor), small, ignore)),
                f"{name}: wrong pixels of {label}, {_ACCURACY.text(1 - scores[label])}",
                f"{_ACCURACY.text(1 - scores[label])} wrong",
            )
            for label, output in outputs.items()
        ]
        rows.append(Row("Wrong pixels", (None, None, *errors)))
    return rows


def _grey(
    shown: Pictures,
    outputs: Mapping[str, np.ndarray],
    about: Evidence,
    factor: int,
    scale: float,
) -> list[Row]:
    data_range = about.data_range or float(np.ptp(shown.truth))
    rows = []
    for index, (image, truth) in enumerate(zip(shown.images, shown.truth, strict=True)):
        name = f"Picture {index + 1}"
        low, high = pixels.window(truth)

        def score(picture: np.ndarray, truth: np.ndarray = truth) -> str:
            return _PSNR.text(pixels.psnr(picture, truth, data_range))

        def shot(
            picture: np.ndarray, alt: str, note: str = "", low: float = low, high: float = high
        ) -> Cell:
            small = pixels.grey(pixels.shrink(picture, factor), low, high)
            return Cell(pixels.png(small), alt, note)

        comparable = image.shape == truth.shape
        given = (
            shot(image, f"{name}: input", score(image))
            if comparable
            else _input(image, name, factor)
        )
        answers = [
            shot(output[index], f"{name}: output of {label}", score(output[index]))
            for label, output in outputs.items()
        ]
        rows.append(Row(name, (given, shot(truth, f"{name}: clean picture"), *answers)))
        errors = [
            Cell(
                pixels.png(
                    pixels.difference(
                        pixels.shrink(output[index], factor), pixels.shrink(truth, factor), scale
                    )
                ),
                f"{name}: output of {label} minus the clean picture",
            )
            for label, output in outputs.items()
        ]
        rows.append(Row("Difference from truth", (None, None, *errors)))
    return rows


def _input(image: np.ndarray, name: str, factor: int) -> Cell:
    small = pixels.shrink(image, factor)
    return Cell(pixels.png(pixels.grey(small, *pixels.window(small))), f"{name}: input")


def _scale(shown: Pictures, outputs: Mapping[str, np.ndarray]) -> float:
    errors = [np.abs(output - shown.truth).ravel() for output in outputs.values()]
    found = np.concatenate(errors) if errors else np.ones(1)
    found = found[np.isfinite(found)]
    return float(np.percentile(found, 99)) if found.any() else 1.0


def _class_legend(
    shown: Pictures, outputs: Mapping[str, np.ndarray], about: Evidence
) -> tuple[Swatch, ...]:
    labels = np.unique(np.concatenate([each.ravel() for each in (shown.truth, *outputs.values())]))
    counted = [int(label) for label in labels if label != about.ignore]
    return tuple(
        Swatch(_css(pixels.colour_of(label)), _class_name(label, about)) for label in counted
    )


def _class_name(label: int, about: Evidence) -> str:
    return about.classes[label] if 0 <= label < len(about.classes) else f"class {label}"


def _wrong_legend(about: Evidence) -> tuple[Swatch, ...]:
    swatches = (Swatch(_css(pixels.RIGHT), "right"), Swatch(_css(pixels.WRONG), "wrong"))
    if about.ignore is None:
        return swatches
    return (*swatches, Swatch(_css(pixels.NOT_COUNTED), "not counted"))


def _difference_legend(scale: float) -> tuple[Swatch, ...]:
    amount = significant(scale, 2)
    return (
        Swatch("rgb(5, 60, 140)", f"too dark by {amount} or more"),
        Swatch("rgb(255, 255, 255)", "equal"),
        Swatch("rgb(165, 15, 40)", f"too bright by {amount} or more"),
    )


def _css(colour: tuple[int, int, int]) -> str:
    return f"rgb{colour}"


_ACCURACY: Metric = metric_named("accuracy")
_PSNR: Metric = metric_named("psnr")
