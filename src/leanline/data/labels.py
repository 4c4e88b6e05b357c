"""Class ids: what is wrong with them, how often they occur, how much each should weigh."""

from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

import torch
from jaxtyping import Int
from torch import Tensor

from leanline.data.folder_scan import Pair
from leanline.data.pictures import read_labels
from leanline.errors import DataError

MOST_INFERRED_CLASSES = 64
"""More classes than this must be asked for: such labels are mostly masks of 0 and 255."""

Labels: TypeAlias = Int[Tensor, "height width"]


def label_problem(path: Path, labels: Labels, classes: int, ignore: int | None) -> str | None:
    """What is wrong with the labels of one picture, or None."""
    counted = labels if ignore is None else labels[labels != ignore]
    wrong = counted[(counted < 0) | (counted >= classes)]
    if not wrong.numel():
        return None
    ignored = "" if ignore is None else f" or {ignore} (ignored)"
    return (
        f"{path} has the label {int(wrong.max())} in {wrong.numel()} pixels; with {classes} "
        f"classes labels are 0 to {classes - 1}{ignored}"
    )


def infer_classes(root: Path, pairs: Iterable[Pair], ignore: int | None) -> int:
    """The largest label of some pictures, plus one; reads all of them.

    Raises:
        DataError: all labels are 0, or there would be more than `MOST_INFERRED_CLASSES`.
    """
    largest, where = 0, root
    for pair in pairs:
        labels = read_labels(pair.target)
        if ignore is not None:
            labels = labels[labels != ignore]
        if labels.numel() and int(labels.max()) > largest:
            largest, where = int(labels.max()), pair.target
    if largest == 0:
        raise DataError(
            f"all labels of {root} (train and val) are 0; labels must be class ids "
            "0, 1, ..., at least two of them"
        )
    if largest >= MOST_INFERRED_CLASSES:
        raise DataError(
            f"{where} has the label {largest}, which would make {largest + 1} classes; write "
            "class ids 0, 1, ... (a mask of 0 and 255 becomes 0 and 1), give ignore="
            f"{largest} if those pixels do not count, or classes={largest + 1} if they do"
        )
    return largest + 1


def median_frequency(
    pictures: Iterable[Labels], classes: int, ignore: int | None
) -> tuple[float, ...]:
    """Weights that make rare classes count as much as frequent ones (Eigen & Fergus 2015).

    The frequency of a class is its pixels over all pixels of the pictures that it occurs in, those
    with the label `ignore` among them; its weight is the median of the frequencies over its own.
    A class that occurs nowhere has weight 0 and does not count for the median.

    Args:
        pictures: labels of the training pictures, 0 to `classes` - 1 or `ignore`.
        classes: their number.
        ignore: label of pixels that do not count.

    Raises:
        DataError: no class occurs.
    """
    pixels = torch.zeros(classes, dtype=torch.float64)
    around = torch.zeros(classes, dtype=torch.float64)
    for labels in pictures:
        counted = labels if ignore is None else labels[labels != ignore]
        counts = torch.bincount(counted.flatten(), minlength=classes)[:classes]
        pixels += counts
        around += (counts > 0) * labels.numel()
    occurs = pixels > 0
    if not bool(occurs.any()):
        raise DataError(f"none of the {classes} classes occurs in the training labels")
    frequency = pixels[occurs] / around[occurs]
    weights = torch.zeros(classes, dtype=torch.float64)
    # of an even number of classes, the mean of the two in the middle
    weights[occurs] = torch.quantile(frequency, 0.5) / frequency
    return tuple(weights.tolist())
