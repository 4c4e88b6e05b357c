"""Made pictures in files, each checked when it is read and made again when it is damaged."""

import logging
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Float32, UInt8

from leanline.records.atomic import atomic_write

logger = logging.getLogger(__name__)

_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile)

Made: TypeAlias = tuple[Float32[np.ndarray, "size size"], UInt8[np.ndarray, "size size"]]
"""Grey values and class ids of a square picture."""


def cached(path: Path, size: int, make: Callable[[], Made]) -> Made:
    """The picture of a file; made, and kept there, when the file is absent or damaged.

    Args:
        path: a .npz file; its folder is made where it is missing.
        size: pixels a side that the picture must have.
        make: makes the picture.

    Raises:
        RunError: the file cannot be written.
    """
    try:
        # the archive's checksums are verified
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            image, labels = stored["image"], stored["labels"]
        shapes_right = image.shape == labels.shape == (size, size)
        if shapes_right and image.dtype == np.float32 and labels.dtype == np.uint8:
            return image, labels
        logger.warning("cached picture %s is of another kind; made again", path)
    except FileNotFoundError:
        pass
    except _DAMAGE as error:
        logger.warning("cached picture %s is damaged (%s); made again", path, error)
    image, labels = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        np.savez(temporary, image=image, labels=labels)
    return image, labels
