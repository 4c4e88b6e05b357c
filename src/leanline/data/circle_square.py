"""Circle-Square: simulated noisy pictures of four kinds of object (appendix A.1.1).

The recipe is that of Pelt & Sethian (2018). A picture has 256 x 256 pixels and 24 objects, six of
each kind, taken in turn: 1 filled square, 2 hollow square, 3 disc, 4 ring. Every object fills a box
of 32 x 32 pixels, whose corner is uniform over the places where the box covers background only.
Holes carry the label of their object and the grey value of the background, which is 0; an object's
grey value is uniform in [0.2, 1). Every pixel gets noise N(0, 1), which is not clipped.
Class fractions are the same in every picture: .67700 .09375 .09375 .06775 .06775.
"""

from dataclasses import dataclass
from functools import cache as memoised
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from leanline.data.augmentation import Augmentation, make_augmentation
from leanline.data.dataset import SPLITS, Task, check_index, check_split
from leanline.data.memory import PictureMemory
from leanline.data.picture_cache import cached
from leanline.errors import ConfigError

SIZE = 256
BOX = 32
OBJECTS = 24
CLASSES = ("background", "filled square", "hollow square", "disc", "ring")
_CORNERS = SIZE - BOX + 1
_VERSION = 1  # of the recipe, in the name of the cache folder


@dataclass(frozen=True)
class CircleSquare:
    """The Circle-Square data set, made on the spot: nothing is downloaded.

    Picture (split, index) is a pure function of `seed`, so that any part can be made alone, in any
    order, by any process.

    Args:
        train: number of training pictures (the thesis: 1000).
        val: number of validation pictures (250).
        test: number of test pictures (100).
        seed: of all pictures; the splits of one seed share no picture.
        cache: folder to keep made pictures in (about 330 kB each); None keeps none.
        memory: bytes of pictures to keep in memory; the default holds 1600.
        crop: train on parts of this many pixels each way, cut out at random; None trains on whole
            pictures.

    Raises:
        ConfigError: a negative count, seed or memory, or a crop larger than the pictures.
    """

    train: int = 1000
    val: int = 250
    test: int = 100
    seed: int = 0
    cache: str | Path | None = None
    memory: int = 2**29
    crop: int | None = None

    task: ClassVar[Task] = "segmentation"
    in_channels: ClassVar[int] = 1
    out_channels: ClassVar[int] = len(CLASSES)
    classes: ClassVar[tuple[str, ...]] = CLASSES

    def __post_init__(self) -> None:
        for name in (*SPLITS, "seed", "memory"):
            value = getattr(self, name)
            if value < 0:
                raise ConfigError(f"CircleSquare({name}={value}): must not be negative")
        if self._augmentation is not None:
            self._augmentation.check(SIZE, SIZE)

    @cached_property
    def _augmentation(self) -> Augmentation | None:
        return make_augmentation(None if self.crop is None else (self.crop, self.crop), False)

    @cached_property
    def _kept(self) -> PictureMemory:
        return PictureMemory(self.memory)

    def split(self, name: str) -> "CircleSquareSplit":
        """The pictures of "train", "val" or "test"."""
        check_split(name, "CircleSquare")
        folder = None
        if self.cache is not None:
            folder = Path(self.cache) / f"circle-square-v{_VERSION}-seed{self.seed}" / name
        return CircleSquareSplit(self, name, folder)


class CircleSquareSplit(Dataset[tuple[Tensor, Tensor]]):
    """One split: image float32 [1, 256, 256] and labels int64 [256, 256] at every index."""

    def __init__(self, data: CircleSquare, name: str, folder: Path | None) -> None:
        self.data = data
        self.name = name
        self.folder = folder
        self.augmentation = data._augmentation if name == "train" else None

    def __len__(self) -> int:
        length: int = getattr(self.data, self.name)
        return length

    def __getitem__(
        self, index: int
    ) -> tuple[Float[Tensor, "1 height width"], Int[Tensor, "height width"]]:
        index = check_index(index, len(self))
        # kept as bytes, an eighth of the labels' size
        image, labels = self.data._kept.get((self.name, index), lambda: self._make(index))
        return image, labels.long()

    def _make(self, index: int) -> tuple[Tensor, Tensor]:
        def make() -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
            return picture(self.data.seed, self.name, index)

        if self.folder is None:
            image, labels = make()
        else:
            image, labels = cached(self.folder / f"{index:05d}.npz", SIZE, make)
        return torch.from_numpy(image)[None], torch.from_numpy(labels)


def picture(
    seed: int, split: str, index: int
) -> tuple[Float32[np.ndarray, "256 256"], UInt8[np.ndarray, "256 256"]]:
    """Makes one picture: its noisy grey values and its class ids.

    A pure function of its arguments, in about 2 ms.
    """
    key = (SPLITS.index(check_split(split, "CircleSquare")), index)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
    corners = _place(rng)
    greys = rng.uniform(0.2, 1.0, OBJECTS).astype(np.float32)
    image = rng.standard_normal((SIZE, SIZE), dtype=np.float32)
    labels = np.zeros((SIZE, SIZE), np.uint8)
    for number, (row, column) in enumerate(corners):
        kind = 1 + number % 4
        covered, lit = _shapes()[kind]
        box = np.s_[row : row + BOX, column : column + BOX]
        labels[box] += kind * covered
        image[box] += greys[number] * lit
    return image, labels


@memoised
def _shapes() -> dict[int, tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    """For each class: where its box is covered (holes too), and where it is lit."""
    grid = np.linspace(-1, 1, BOX)
    radius2 = grid[:, None] ** 2 + grid[None, :] ** 2
    square = np.ones((BOX, BOX), bool)
    hole = np.zeros((BOX, BOX), bool)
    hole[8:24, 8:24] = True
    disc = radius2 < 1
    shapes = {
        1: (square, square),
        2: (square, square & ~hole),
        3: (disc, disc),
        4: (disc, disc & ~(radius2 < 0.25)),
    }
    return {
        kind: (covered.astype(np.uint8), lit.astype(np.float32))
        for kind, (covered, lit) in shapes.items()
    }


@memoised
def _blocking() -> dict[int, Bool[np.ndarray, "63 63"]]:
    """For each class: the corners, relative to an object's own, at which a new box would touch it.

    Entry (31 + dr, 31 + dc) is the corner displaced by (dr, dc).
    """
    blocking = {}
    for kind, (covered, _) in _shapes().items():
        touched = np.zeros((2 * BOX - 1, 2 * BOX - 1), bool)
        for row, column in np.argwhere(covered):
            # A box at corner (r, c) holds the pixel (row, column) iff row - 31 <= r <= row.
            touched[row : row + BOX, column : column + BOX] = True
        blocking[kind] = touched
    return blocking


def _place(rng: np.random.Generator) -> list[tuple[int, int]]:
    """Corners of the objects, each uniform over the places that are still free.

    Drawing from the list of free places has the same distribution as drawing until one is
    accepted. Should none be left (a jammed picture), the picture is begun again.
    """
    while True:
        # Padded by a box on each side, so that blocking needs no clipping.
        free = np.zeros((_CORNERS + 2 * BOX, _CORNERS + 2 * BOX), bool)
        inside = free[BOX:-BOX, BOX:-BOX]
        inside[:] = True
        corners: list[tuple[int, int]] = []
        for number in range(OBJECTS):
            places = np.flatnonzero(inside)
            if places.size == 0:
                break
            row, column = divmod(int(places[rng.integers(places.size)]), _CORNERS)
            corners.append((row, column))
            top, left = row + BOX - (BOX - 1), column + BOX - (BOX - 1)
            area = free[top : top + 2 * BOX - 1, left : left + 2 * BOX - 1]
            area &= ~_blocking()[1 + number % 4]
        if len(corners) == OBJECTS:
            return corners
