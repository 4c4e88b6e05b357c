"""What the pictures of a run look like on the page, by the kind of task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from leanline.report import pictures as pixels
from leanline.report.evidence import Evidence, Pictures
from leanline.report.metrics import metric_named, significant

_ACCURACY, _PSNR = metric_named("accuracy"), metric_named("psnr")


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
class Swatch:
    """A colour of the legend and what it means."""

    colour: str
    meaning: str


@dataclass(frozen=True, eq=False)
class Views(ABC):
    """How pictures of a task are shown.

    Attributes:
        shown: the pictures.
        outputs: what each network makes of them, by its label.
        about: the figures of the run: names of classes, range of grey values.
        factor: by how much pictures are shown smaller.
    """

    shown: Pictures
    outputs: Mapping[str, np.ndarray]
    about: Evidence
    factor: int

    @abstractmethod
    def given(self, index: int) -> tuple[Cell, Cell]:
        """Input and truth of a picture."""

    @abstractmethod
    def answers(self, index: int) -> tuple[Cell, ...]:
        """The output of each network."""

    @abstractmethod
    def errors(self, index: int) -> tuple[Cell, ...]:
        """Where each output differs from the truth."""

    @abstractmethod
    def legend(self) -> tuple[Swatch, ...]:
        """What the colours of truth and outputs mean; empty for grey values."""

    @abstractmethod
    def error_legend(self) -> tuple[Swatch, ...]:
        """What the colours of the errors mean."""


class LabelViews(Views):
    """Segmentation: classes as colours, wrong pixels in red."""

    def given(self, index: int) -> tuple[Cell, Cell]:
        """Input and true classes."""
        truth = pixels.thin(self.shown.truth[index], self.factor)
        colours = pixels.colour_labels(truth, self.about.ignore)
        right = Cell(pixels.png(colours), f"{_named(index)}: true classes")
        return show_input(self.shown.images[index], index, self.factor), right

    def answers(self, index: int) -> tuple[Cell, ...]:
        """The classes that each network gives, and how many are right."""
        return tuple(
            Cell(
                pixels.png(pixels.colour_labels(pixels.thin(output[index], self.factor))),
                f"{_named(index)}: classes by {label}",
                f"{_ACCURACY.text(self._right(output, index))} right",
            )
            for label, output in self.outputs.items()
        )

    def errors(self, index: int) -> tuple[Cell, ...]:
        """Wrong pixels, and how many."""
        truth = pixels.thin(self.shown.truth[index], self.factor)
        cells = []
        for label, output in self.outputs.items():
            labels = pixels.thin(output[index], self.factor)
            wrong = f"{_ACCURACY.text(1 - self._right(output, index))} wrong"
            colours = pixels.colour_errors(labels, truth, self.about.ignore)
            cells.append(Cell(pixels.png(colours), f"{_named(index)}: {label}, {wrong}", wrong))
        return tuple(cells)

    def legend(self) -> tuple[Swatch, ...]:
        """The classes that appear."""
        every = (self.shown.truth, *self.outputs.values())
        labels = np.unique(np.concatenate([np.unique(each) for each in every]))
        return tuple(
            Swatch(_css(pixels.colour_of(int(label))), class_name(int(label), self.about))
            for label in labels
            if label != self.about.ignore
        )

    def error_legend(self) -> tuple[Swatch, ...]:
        """Right, wrong, and not counted where there is that."""
        swatches = (Swatch(_css(pixels.RIGHT), "right"), Swatch(_css(pixels.WRONG), "wrong"))
        if self.about.ignore is None:
            return swatches
        return (*swatches, Swatch(_css(pixels.NOT_COUNTED), "not counted"))

    def _right(self, output: np.ndarray, index: int) -> float:
        return pixels.accuracy(output[index], self.shown.truth[index], self.about.ignore)


class GreyViews(Views):
    """Denoising: grey values between the same limits, differences in blue and red."""

    def given(self, index: int) -> tuple[Cell, Cell]:
        """Input and clean picture; the input has a score where it is of the same kind."""
        image, truth = self.shown.images[index], self.shown.truth[index]
        clean = self._shot(truth, index, "clean picture", "")
        if image.shape != truth.shape:
            return show_input(image, index, self.factor), clean
        return self._shot(image, index, "input", self._psnr(image, index)), clean

    def answers(self, index: int) -> tuple[Cell, ...]:
        """The output of each network and its PSNR."""
        return tuple(
            self._shot(output[index], index, f"output of {label}", self._psnr(output[index], index))
            for label, output in self.outputs.items()
        )

    def errors(self, index: int) -> tuple[Cell, ...]:
        """Output minus clean picture."""
        clean, scale = pixels.shrink(self.shown.truth[index], self.factor), self._scale()
        return tuple(
            Cell(
                pixels.png(
                    pixels.difference(pixels.shrink(output[index], self.factor), clean, scale)
                ),
                f"{_named(index)}: output of {label} minus the clean picture",
            )
            for label, output in self.outputs.items()
        )

    def legend(self) -> tuple[Swatch, ...]:
        """Grey values need none."""
        return ()

    def error_legend(self) -> tuple[Swatch, ...]:
        """Too dark, equal, too bright."""
        amount = significant(self._scale(), 2)
        return (
            Swatch(_css(pixels.TOO_DARK), f"too dark by {amount} or more"),
            Swatch(_css((255, 255, 255)), "equal"),
            Swatch(_css(pixels.TOO_BRIGHT), f"too bright by {amount} or more"),
        )

    def _shot(self, picture: np.ndarray, index: int, what: str, note: str) -> Cell:
        limits = pixels.window(self.shown.truth[index])
        small = pixels.grey(pixels.shrink(picture, self.factor), *limits)
        return Cell(pixels.png(small), f"{_named(index)}: {what}", note)

    def _psnr(self, picture: np.ndarray, index: int) -> str:
        data_range = self.about.data_range or float(np.ptp(self.shown.truth))
        return _PSNR.text(pixels.psnr(picture, self.shown.truth[index], data_range))

    def _scale(self) -> float:
        """The difference that 1 % of the pixels of all outputs exceed, or the largest."""
        errors = [np.abs(output - self.shown.truth).ravel() for output in self.outputs.values()]
        found = np.concatenate(errors) if errors else np.ones(1)
        found = found[np.isfinite(found)]
        if not found.any():
            return 1.0
        return float(np.percentile(found, 99)) or float(found.max())


def show_input(image: np.ndarray, index: int, factor: int) -> Cell:
    """An input picture between its own limits."""
    small = pixels.shrink(image, factor)
    return Cell(pixels.png(pixels.grey(small, *pixels.window(small))), f"{_named(index)}: input")


def class_name(label: int, about: Evidence) -> str:
    """What a class is called."""
    return about.classes[label] if 0 <= label < len(about.classes) else f"class {label}"


def _named(index: int) -> str:
    return f"Picture {index + 1}"


def _css(colour: tuple[int, int, int]) -> str:
    return f"rgb{colour}"
