"""What every data set of leanline offers."""

from typing import Literal, Protocol, runtime_checkable

from torch import Tensor

from leanline.errors import ConfigError

Task = Literal["segmentation", "denoising"]

SPLITS = ("train", "val", "test")


@runtime_checkable
class Split(Protocol):
    """A sequence of (image, target) pairs; a map-style PyTorch data set.

    The image is float32 [channels, height, width]; the target is int64 [height, width] (class ids)
    for segmentation and float32 [channels, height, width] for denoising.

    A split may have an attribute `augmentation` (`leanline.data.Augmentation` or None), which
    training applies to the pairs that it reads.
    """

    def __len__(self) -> int:
        """Number of pictures."""
        ...

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """The pair at `index`; the same values at every call."""
        ...


@runtime_checkable
class ImagingDataset(Protocol):
    """Pictures in three splits, with the task they are for."""

    @property
    def task(self) -> Task:
        """What the targets are: class ids ("segmentation") or pictures ("denoising")."""
        ...

    @property
    def in_channels(self) -> int:
        """Channels of an image."""
        ...

    @property
    def out_channels(self) -> int:
        """Classes (segmentation) or channels of the target (denoising)."""
        ...

    def split(self, name: str) -> Split:
        """The split "train", "val" or "test"; ConfigError for another name."""
        ...


def check_split(name: str, owner: str) -> str:
    """Returns `name`, or raises ConfigError when it is not a split."""
    if name not in SPLITS:
        raise ConfigError(f"{owner} has no split {name!r}: it has {', '.join(SPLITS)}")
    return name


def check_index(index: int, length: int) -> int:
    """Maps a negative index to its place; raises IndexError outside the split."""
    if not -length <= index < length:
        raise IndexError(f"picture {index} asked for in a split of {length}")
    return index % length
