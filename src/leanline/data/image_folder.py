"""A folder of the user's own pictures, for segmentation or denoising."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from leanline.data.dataset import SPLITS, Task, check_index, check_split
from leanline.data.folder_scan import TARGETS, FolderScan, Pair, scan_folder
from leanline.data.memory import PictureMemory
from leanline.data.pictures import read_image, read_labels
from leanline.errors import ConfigError, DataError
from leanline.types import PathLike

logger = logging.getLogger(__name__)

MOST_INFERRED_CLASSES = 64
"""More classes than this must be asked for: such labels are mostly masks of 0 and 255."""


@dataclass(frozen=True)
class Normalisation:
    """The affine map that a data set's pictures went through: (x - mean) / std."""

    mean: float
    std: float

    def apply(self, picture: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """From the units of the files to those of the network."""
        return (picture - self.mean) / self.std

    def undo(self, picture: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """From the units of the network to those of the files."""
        return picture * self.std + self.mean


class ImageFolder:
    """Pictures in {train,val,test}/{images,labels} or {train,val,test}/{images,clean}.

    With labels the task is segmentation, with clean pictures denoising; where both are there,
    labels are taken unless `target="clean"`. A picture and its target have the same file name (the
    suffix may differ). PNG, TIFF and JPEG are read: 8 or 16 bits or floating point, grey or RGB;
    labels are class ids 0, 1, ... in a grey or palette PNG or TIFF.

    Images are scaled to mean 0 and standard deviation 1 with one mean and one standard deviation,
    those of all training images together (`normalisation`). Clean pictures go through the same map,
    so that `normalisation.undo` brings a network's output back to the units of the files.

    Headers are read at once and pixels when asked for; the most recent pictures stay in memory.

    Args:
        root: the folder.
        target: "labels", "clean", or None to choose by what is there.
        classes: number of classes; None takes the largest label of train and val, plus one.
        ignore: label of pixels that do not count, such as 255; it is no class.
        memory: bytes of pictures to keep in memory.

    Raises:
        ConfigError: an unknown target, classes below 2, a negative `ignore` or `memory`.
        DataError: a split or folder is missing or empty, a picture has no partner or cannot be
            read, sizes are mixed; `check` lists all such problems.
    """

    def __init__(
        self,
        root: PathLike,
        target: str | None = None,
        classes: int | None = None,
        ignore: int | None = None,
        memory: int = 2**29,
    ) -> None:
        _check_settings(target, classes, ignore, memory)
        scan = scan_folder(Path(root), target)
        if scan.problems:
            more = len(scan.problems) - 1
            others = f" (and {more} more; leanline.data.check lists them)" if more else ""
            raise DataError(scan.problems[0] + others)
        self.root = Path(root)
        self.target = scan.target
        self.ignore = ignore
        self._scan = scan
        self._classes = classes
        self._memory = PictureMemory(memory)
        if target is None and all((self.root / split / "clean").is_dir() for split in SPLITS):
            logger.info("%s: training on %s; the other is target=...", self.root, self.target)

    @property
    def task(self) -> Task:
        """Segmentation for labels, denoising for clean pictures."""
        return "segmentation" if self.target == "labels" else "denoising"

    @property
    def in_channels(self) -> int:
        """Channels of an image: 1 (grey) or 3."""
        return self._scan.pairs["train"][0].image_header.channels

    @property
    def out_channels(self) -> int:
        """Number of classes, or channels of a clean picture."""
        if self.task == "denoising":
            return self._scan.pairs["train"][0].target_header.channels
        return self.classes

    @cached_property
    def classes(self) -> int:
        """Number of classes; where not given, all labels of train and val are read once."""
        if self.task == "denoising":
            raise ConfigError(f"{self.root} is used for denoising and has no classes")
        if self._classes is not None:
            return self._classes
        largest, where = 0, self._scan.pairs["train"][0].target
        for pair in self._scan.pairs["train"] + self._scan.pairs["val"]:
            labels = read_labels(pair.target)
            if self.ignore is not None:
                labels = labels[labels != self.ignore]
            if labels.numel() and int(labels.max()) > largest:
                largest, where = int(labels.max()), pair.target
        if largest == 0:
            raise DataError(
                f"all labels of {self.root} (train and val) are 0; labels must be class ids "
                "0, 1, ..., at least two of them"
            )
        if largest >= MOST_INFERRED_CLASSES:
            raise DataError(
                f"{where} has the label {largest}, which would make {largest + 1} classes; write "
                "class ids 0, 1, ... (a mask of 0 and 255 becomes 0 and 1), give ignore="
                f"{largest} if those pixels do not count, or classes={largest + 1} if they do"
            )
        return largest + 1

    @cached_property
    def normalisation(self) -> Normalisation:
        """Mean and standard deviation of all training images; read once, at first use.

        Raises:
            DataError: all pixels are the same.
        """
        count, total, squares = 0, 0.0, 0.0
        for pair in self._scan.pairs["train"]:
            image = read_image(pair.image).double()
            count += image.numel()
            total += float(image.sum())
            squares += float(image.square().sum())
        mean = total / count
        variance = squares / count - mean**2
        if not variance > 1e-12 * mean**2:
            raise DataError(f"all pixels of {self.root / 'train' / 'images'} are {mean:g}")
        return Normalisation(mean, variance**0.5)

    @cached_property
    def data_range(self) -> float:
        """Range of grey values for PSNR and SSIM, in the units of the files.

        255 or 65535 for clean pictures of 8 or 16 bits; for floating point, the largest minus the
        smallest value of the training set's clean pictures.
        """
        pairs = self._scan.pairs["train"]
        scales = [pair.target_header.full_scale for pair in pairs]
        if all(scale is not None for scale in scales):
            return float(max(scale for scale in scales if scale is not None))
        pictures = [read_image(pair.target) for pair in pairs]
        smallest = min(float(picture.min()) for picture in pictures)
        return max(float(picture.max()) for picture in pictures) - smallest

    def split(self, name: str) -> "ImageFolderSplit":
        """The pictures of "train", "val" or "test", in the order of their names."""
        check_split(name, "ImageFolder")
        return ImageFolderSplit(self, self._scan.pairs[name])

    def read(self, pair: Pair) -> tuple[Tensor, Tensor]:
        """The normalised image of a pair, and its labels or normalised clean picture.

        Raises:
            DataError: a file cannot be read, or a label is out of range; the message names it.
        """
        return self._memory.get(pair.image, lambda: self._read(pair))

    def _read(self, pair: Pair) -> tuple[Tensor, Tensor]:
        image = self.normalisation.apply(read_image(pair.image))
        if self.task == "denoising":
            return image, self.normalisation.apply(read_image(pair.target))
        labels = read_labels(pair.target)
        problem = label_problem(pair.target, labels, self.classes, self.ignore)
        if problem:
            raise DataError(problem)
        return image, labels


class ImageFolderSplit(Dataset[tuple[Tensor, Tensor]]):
    """One split of an `ImageFolder`."""

    def __init__(self, folder: ImageFolder, pairs: list[Pair]) -> None:
        self.folder = folder
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.folder.read(self.pairs[check_index(index, len(self.pairs))])


def check(
    root: PathLike,
    target: str | None = None,
    classes: int | None = None,
    ignore: int | None = None,
) -> list[str]:
    """Lists everything that is wrong with a data folder; reads every pixel of it.

    Takes what `ImageFolder` takes. An empty list means that the folder can be trained on.
    """
    _check_settings(target, classes, ignore, 0)
    scan = scan_folder(Path(root), target)
    problems = scan.problems + _pixel_problems(scan, classes, ignore)
    if problems:
        return problems
    folder = ImageFolder(root, target, classes, ignore)
    checks: list[Callable[[], object]] = [lambda: folder.normalisation, lambda: folder.out_channels]
    for look in checks:
        try:
            look()
        except DataError as error:
            problems.append(str(error))
    if problems or folder.task == "denoising":
        return problems
    for pair in scan.pairs["test"]:
        problem = label_problem(pair.target, read_labels(pair.target), folder.classes, ignore)
        problems += [problem] if problem else []
    return problems


def label_problem(path: Path, labels: Tensor, classes: int, ignore: int | None) -> str | None:
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


def _pixel_problems(scan: FolderScan, classes: int | None, ignore: int | None) -> list[str]:
    problems: list[str] = []
    for split in SPLITS:
        for pair in scan.pairs.get(split, []):
            try:
                read_image(pair.image)
            except DataError as error:
                problems.append(str(error))
            try:
                if scan.target == "clean":
                    read_image(pair.target)
                else:
                    labels = read_labels(pair.target)
                    problem = label_problem(pair.target, labels, classes or 2**31, ignore)
                    problems += [problem] if problem else []
            except DataError as error:
                problems.append(str(error))
    return problems


def _check_settings(
    target: str | None, classes: int | None, ignore: int | None, memory: int
) -> None:
    if target is not None and target not in TARGETS:
        raise ConfigError(f"target={target!r}: must be one of {', '.join(TARGETS)}")
    if classes is not None and classes < 2:
        raise ConfigError(f"classes={classes}: must be at least 2")
    if ignore is not None and ignore < 0:
        raise ConfigError(f"ignore={ignore}: must not be negative")
    if memory < 0:
        raise ConfigError(f"memory={memory}: must not be negative")
