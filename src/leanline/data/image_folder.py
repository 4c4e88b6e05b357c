"""A folder of the user's own pictures, for segmentation or denoising."""

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeAlias

from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from leanline.data.augmentation import Augmentation, make_augmentation
from leanline.data.dataset import SPLITS, Task, check_index, check_split
from leanline.data.folder_scan import TARGETS, Pair, scan_folder
from leanline.data.labels import Labels, infer_classes, label_problem, median_frequency
from leanline.data.memory import PictureMemory
from leanline.data.pictures import read_image, read_labels
from leanline.data.reduction import shrink, shrink_labels
from leanline.errors import ConfigError, DataError
from leanline.types import PathLike

logger = logging.getLogger(__name__)

Weights: TypeAlias = Literal["median-frequency"]
"""How classes are weighted in the loss."""


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
    suffix may differ). PNG, TIFF and JPEG are read: 8 or 16 bits or floating point, grey or RGB,
    TIFF with any number of channels; labels are class ids 0, 1, ... in a grey or palette PNG or
    TIFF.

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
        crop: height and width (or one number for both) of the part of a training picture that each
            step reads, at a random place; None reads whole pictures. Validation and test pictures
            stay whole.
        flip: whether training mirrors half of the pictures, by chance, left to right.
        weights: "median-frequency" makes rare classes weigh more in the loss (`class_weights`).
        reduce: factor by which pictures are made smaller: means over squares of so many pixels,
            labels of the pixel in the middle; rows and columns that are left over are cut off.

    Raises:
        ConfigError: an unknown target, classes below 2, a negative `ignore` or `memory`, a crop
            larger than the pictures, weights for denoising.
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
        crop: tuple[int, ...] | None = None,
        flip: bool = False,
        weights: Weights | None = None,
        reduce: int = 1,
    ) -> None:
        check_settings(target, classes, ignore, memory)
        if reduce < 1:
            raise ConfigError(f"reduce={reduce}: must be at least 1")
        self._augmentation = make_augmentation(crop, flip)
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
        self.weights = weights
        self.reduce = reduce
        if weights is not None and self.task == "denoising":
            raise ConfigError(f"weights={weights!r}: {root} is used for denoising, without classes")
        self._memory = PictureMemory(memory)
        self._check_room()
        if target is None and all((self.root / split / "clean").is_dir() for split in SPLITS):
            logger.info("%s: training on %s; the other is target=...", self.root, self.target)

    def _check_room(self) -> None:
        """Refuses crops, and a reduction, that the smallest picture has no room for."""
        for pairs in self._scan.pairs.values():
            height, width = pairs[0].image_header.height, pairs[0].image_header.width
            if min(height, width) < self.reduce:
                raise ConfigError(
                    f"reduce={self.reduce} leaves nothing of {pairs[0].image}, which has "
                    f"{height} x {width} pixels"
                )
        first = self._scan.pairs["train"][0].image_header
        if self._augmentation is not None:
            self._augmentation.check(first.height // self.reduce, first.width // self.reduce)

    @property
    def task(self) -> Task:
        """Segmentation for labels, denoising for clean pictures."""
        return "segmentation" if self.target == "labels" else "denoising"

    @property
    def in_channels(self) -> int:
        """Channels of an image: 1 (grey), 3 (colour), or as many as the files have."""
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
        pairs = self._scan.pairs["train"] + self._scan.pairs["val"]
        return infer_classes(self.root, pairs, self.ignore)

    @cached_property
    def class_weights(self) -> tuple[float, ...] | None:
        """Weights of the classes in the loss, by `weights`; all training labels are read once."""
        if self.weights is None:
            return None
        labels = (self._labels(pair) for pair in self._scan.pairs["train"])
        return median_frequency(labels, self.classes, self.ignore)

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
        augmentation = self._augmentation if name == "train" else None
        return ImageFolderSplit(self, self._scan.pairs[name], augmentation)

    def read(self, pair: Pair) -> tuple[Tensor, Tensor]:
        """The normalised image of a pair, and its labels or normalised clean picture.

        Raises:
            DataError: a file cannot be read, or a label is out of range; the message names it.
        """
        image, target = self._memory.get(pair.image, lambda: self._read(pair))
        return image, target.long() if self.task == "segmentation" else target

    def _read(self, pair: Pair) -> tuple[Tensor, Tensor]:
        image = self.normalisation.apply(shrink(read_image(pair.image), self.reduce))
        if self.task == "denoising":
            clean = shrink(read_image(pair.target), self.reduce)
            return image, self.normalisation.apply(clean)
        labels = shrink_labels(self._labels(pair), self.reduce)
        # kept as small numbers where they fit, an eighth of the labels' size
        return image, labels.byte() if max(self.classes, self.ignore or 0) < 256 else labels

    def _labels(self, pair: Pair) -> Labels:
        labels = read_labels(pair.target)
        problem = label_problem(pair.target, labels, self.classes, self.ignore)
        if problem:
            raise DataError(problem)
        return labels


class ImageFolderSplit(Dataset[tuple[Tensor, Tensor]]):
    """One split of an `ImageFolder`, as it is; training applies `augmentation` to what it reads."""

    def __init__(
        self, folder: ImageFolder, pairs: list[Pair], augmentation: Augmentation | None = None
    ) -> None:
        self.folder = folder
        self.pairs = pairs
        self.augmentation = augmentation

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.folder.read(self.pairs[check_index(index, len(self.pairs))])


def check_settings(
    target: str | None, classes: int | None, ignore: int | None, memory: int
) -> None:
    """Raises ConfigError for a setting that no folder can be used with."""
    if target is not None and target not in TARGETS:
        raise ConfigError(f"target={target!r}: must be one of {', '.join(TARGETS)}")
    if classes is not None and classes < 2:
        raise ConfigError(f"classes={classes}: must be at least 2")
    if ignore is not None and ignore < 0:
        raise ConfigError(f"ignore={ignore}: must not be negative")
    if memory < 0:
        raise ConfigError(f"memory={memory}: must not be negative")
