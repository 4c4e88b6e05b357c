"""Crops and flips of training pictures, the same for a picture and its target."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from leanline.errors import ConfigError


@dataclass(frozen=True)
class Augmentation:
    """What is done to a picture and its target each time that training reads them.

    Attributes:
        crop: height and width of a part that is cut out at a uniformly drawn place; None keeps the
            whole picture.
        flip: whether half of the pictures, by chance, are mirrored left to right.
    """

    crop: tuple[int, int] | None = None
    flip: bool = False

    def apply(
        self, image: Tensor, target: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Crops and flips a pair [..., height, width].

        The draws from `rng` are the same in number whatever the settings.

        Raises:
            ConfigError: the crop is larger than the picture.
        """
        places = rng.uniform(size=2)
        mirrored = rng.uniform() < 0.5
        if self.crop is not None:
            self.check(image.shape[-2], image.shape[-1])
            rooms = (image.shape[-2] - self.crop[0], image.shape[-1] - self.crop[1])
            top, left = (int(p * (room + 1)) for p, room in zip(places, rooms, strict=True))
            part = (..., slice(top, top + self.crop[0]), slice(left, left + self.crop[1]))
            image, target = image[part], target[part]
        if self.flip and mirrored:
            image, target = image.flip(-1), target.flip(-1)
        return image.contiguous(), target.contiguous()

    def check(self, height: int, width: int) -> None:
        """Raises ConfigError where the crop is larger than pictures of height x width."""
        if self.crop is not None and (self.crop[0] > height or self.crop[1] > width):
            raise ConfigError(
                f"crop={self.crop[0]},{self.crop[1]} (height, width) is larger than the pictures, "
                f"which have {height} x {width} pixels"
            )


def make_augmentation(crop: Sequence[int] | None, flip: bool) -> Augmentation | None:
    """An augmentation from settings, or None where they ask for none.

    Args:
        crop: height and width, or one number for both, or None.
        flip: see `Augmentation`.

    Raises:
        ConfigError: not one or two sizes of at least 1.
    """
    if crop is None:
        return Augmentation(None, True) if flip else None
    if len(crop) not in (1, 2) or min(crop) < 1:
        given = ",".join(str(size) for size in crop)
        raise ConfigError(f"crop={given}: must be height,width or one number for both")
    return Augmentation((crop[0], crop[-1]), flip)
