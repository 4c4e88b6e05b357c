"""Dynamic CT: simulated scans of a tablet that dissolves in a vial of gel, with rising bubbles.

A stand-in for the tablet-in-gel scans of Coban et al. (2020), which the thesis uses (appendix
A.1.1): 512 x 512 pixels, 9216 training, 2048 validation and 1536 test pictures, judged by the F1
of the bubbles. `dynamic_ct_scene` draws what is scanned, `dynamic_ct_scan` scans it.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from leanline.data.dataset import SPLITS, Task, check_index, check_split
from leanline.data.dynamic_ct_scan import Scanner, draw_gains, gas, scan
from leanline.data.dynamic_ct_scene import Scene, draw_scene
from leanline.data.memory import PictureMemory
from leanline.data.picture_cache import cached
from leanline.errors import ConfigError

GEL = 0.025
"""Attenuation in 1/mm that is 1 in a picture: that of the gel, on average."""
SMALLEST, LARGEST = 64, 2048
_VERSION = 1  # of the recipe, in the name of the cache folder


@dataclass(frozen=True)
class DynamicCT:
    """Slices of dissolving tablets, to be segmented into bubbles (1) and all else (0).

    A sequence is one vial, scanned `frames` times. The splits hold different sequences, so that no
    vial is in two of them. Picture number i of a split is frame i % frames of sequence i // frames,
    and a pure function of the settings, so that any part can be made alone, in any order, by any
    process. Pictures are attenuations in units of the gel's, on average: gas is 0, gel about 1.
    The air outside the vial looks like a bubble and is none.

    Args:
        train: number of training sequences; the defaults give the thesis's numbers of pictures.
        val: number of validation sequences.
        test: number of test sequences.
        frames: pictures a sequence.
        size: pixels a side. The field of view stays the same, so that in smaller pictures bubbles
            cover fewer pixels, about the same fraction of them.
        views: of a scan; fewer are harder.
        photons: from and to: of a detector pixel in a view of the empty beam, log-uniform over the
            sequences; fewer are harder.
        seed: of all pictures.
        cache: folder to keep made pictures in (5 bytes a pixel); None keeps none.
        memory: bytes of pictures to keep in memory.

    Raises:
        ConfigError: a value out of range.
    """

    train: int = 1152
    val: int = 256
    test: int = 192
    frames: int = 8
    size: int = 512
    views: int = 64
    photons: tuple[float, float] = (3e3, 2e4)
    seed: int = 0
    cache: str | Path | None = None
    memory: int = 2**29

    task: ClassVar[Task] = "segmentation"
    in_channels: ClassVar[int] = 1
    out_channels: ClassVar[int] = 2
    classes: ClassVar[tuple[str, ...]] = ("other", "bubble")

    def __post_init__(self) -> None:
        for name in (*SPLITS, "seed", "memory"):
            value = getattr(self, name)
            if value < 0:
                raise ConfigError(f"DynamicCT({name}={value}): must not be negative")
        for name in ("frames", "views"):
            value = getattr(self, name)
            if value < 1:
                raise ConfigError(f"DynamicCT({name}={value}): must be at least 1")
        if not SMALLEST <= self.size <= LARGEST:
            raise ConfigError(
                f"DynamicCT(size={self.size}): must be between {SMALLEST} and {LARGEST}"
            )
        if len(self.photons) != 2 or not 1 <= self.photons[0] <= self.photons[1] <= 1e12:
            raise ConfigError(
                f"DynamicCT(photons={self.photons}): must be two numbers, from and to, at least 1"
            )

    @cached_property
    def _kept(self) -> PictureMemory:
        return PictureMemory(self.memory)

    def split(self, name: str) -> "DynamicCTSplit":
        """The pictures of "train", "val" or "test", sequence by sequence."""
        check_split(name, "DynamicCT")
        folder = None
        if self.cache is not None:
            low, high = self.photons
            kind = f"dynamic-ct-v{_VERSION}-{self.size}-{self.views}-{low:.9g}-{high:.9g}"
            folder = Path(self.cache) / f"{kind}-seed{self.seed}" / name
        return DynamicCTSplit(self, name, folder)


class DynamicCTSplit(Dataset[tuple[Tensor, Tensor]]):
    """One split: image float32 [1, size, size] and labels int64 [size, size] at every index."""

    def __init__(self, data: DynamicCT, name: str, folder: Path | None) -> None:
        self.data = data
        self.name = name
        self.folder = folder

    def __len__(self) -> int:
        sequences: int = getattr(self.data, self.name)
        return sequences * self.data.frames

    def __getitem__(
        self, index: int
    ) -> tuple[Float[Tensor, "1 height width"], Int[Tensor, "height width"]]:
        place = divmod(check_index(index, len(self)), self.data.frames)
        # kept as bytes, an eighth of the labels' size
        image, labels = self.data._kept.get((self.name, *place), lambda: self._make(*place))
        return image, labels.long()

    def _make(self, sequence: int, frame: int) -> tuple[Tensor, Tensor]:
        def make() -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
            return picture(self.data, self.name, sequence, frame)

        if self.folder is None:
            image, labels = make()
        else:
            # by frame, not by index, so that `frames` may change
            path = self.folder / f"{sequence:05d}-{frame:04d}.npz"
            image, labels = cached(path, self.data.size, make)
        return torch.from_numpy(image)[None], torch.from_numpy(labels)


def picture(
    data: DynamicCT, split: str, sequence: int, frame: int
) -> tuple[Float32[np.ndarray, "size size"], UInt8[np.ndarray, "size size"]]:
    """Makes one picture: its grey values in units of the gel's, and its class ids.

    A pure function of its arguments; of the data set's settings it reads seed, size, views and
    photons.
    """
    key = (SPLITS.index(check_split(split, "DynamicCT")), sequence)
    scene = scene_of(data.seed, *key)
    # streams of their own, so that the scene stays the same when the scan changes
    dose, noise = np.random.SeedSequence(data.seed, spawn_key=(*key, 1)).spawn(2)
    rng = np.random.default_rng(dose)
    low, high = np.log(data.photons)
    photons = float(np.exp(rng.uniform(low, high)))
    scanner = Scanner(data.size, data.views, photons, draw_gains(rng, data.size))
    frame_noise = np.random.SeedSequence(noise.entropy, spawn_key=(*noise.spawn_key, frame))
    image = scan(scene, frame, scanner, np.random.default_rng(frame_noise))
    return image / np.float32(GEL), gas(scene, frame, data.size).astype(np.uint8)


@lru_cache(maxsize=32)  # a frame is often followed by another one of its sequence
def scene_of(seed: int, split: int, sequence: int) -> Scene:
    """What is scanned in a sequence, by the number of its split."""
    source = np.random.SeedSequence(seed, spawn_key=(split, sequence, 0))
    return draw_scene(np.random.default_rng(source))
