"""A picture that is too large for one call, cut into tiles that overlap and put together again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from leanline.errors import ConfigError, ModelError
from leanline.graph.agreement import deviation
from leanline.inference.receptive_field import AXES, ReceptiveField

Window = tuple[slice, slice]
"""Rows and columns."""

TOLERANCE = 1e-4
"""Deviation, relative to the largest value, above which tiles are not what the whole would be."""


@dataclass(frozen=True)
class Tile:
    """A part of a picture.

    Attributes:
        read: what the network is given.
        keep: what of it is kept: a part of `read`. The tiles of a picture share no kept pixel.
    """

    read: Window
    keep: Window

    @property
    def inner(self) -> Window:
        """What is kept, counted from the corner of what is read."""
        rows, columns = (
            slice(keep.start - read.start, keep.stop - read.start)
            for keep, read in zip(self.keep, self.read, strict=True)
        )
        return rows, columns

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what is read."""
        return self.read[0].stop - self.read[0].start, self.read[1].stop - self.read[1].start


def layout(size: tuple[int, int], side: int, field: ReceptiveField) -> list[Tile]:
    """Cut a picture into tiles whose kept parts cover it once.

    Args:
        size: height and width of the picture.
        side: pixels that are kept of a tile, each way; made a multiple of the alignment.
        field: of the network.

    Raises:
        ConfigError: `side` is below 1.
        ModelError: the network sees the whole picture.
    """
    if side < 1:
        raise ConfigError(f"tile={side}: must be at least 1")
    if not field.finite:
        raise ModelError(f"pictures cannot be cut into tiles for this network: {field.far}")
    rows, columns = (list(_along(size[axis], side, field, axis)) for axis in range(AXES))
    return [Tile((row[0], column[0]), (row[1], column[1])) for row in rows for column in columns]


def _along(
    length: int, side: int, field: ReceptiveField, axis: int
) -> Iterator[tuple[slice, slice]]:
    """What is read and kept along one axis; all that is read is as long, for one set of buffers."""
    step = field.alignment[axis]
    side = max(1, side // step) * step
    before = math.ceil(field.before[axis] / step) * step
    extent = before + math.ceil((side + field.after[axis]) / step) * step
    for start in range(0, length, side):
        stop = min(start + side, length)
        first = max(0, min(start - before, (length - extent) // step * step))
        last = first + extent
        yield slice(first, length if last + step > length else last), slice(start, stop)


def largest_side(pixels: float, field: ReceptiveField) -> int:
    """The side of the largest tile of which no more than so many pixels are read.

    Raises:
        ModelError: the overlap alone has more pixels.
    """
    seen = [
        b + a + 3 * (s - 1)
        for b, a, s in zip(field.before, field.after, field.alignment, strict=True)
    ]
    least = max(field.alignment)
    if math.prod(one + least for one in seen) > pixels:
        wanted = math.prod(one + least for one in seen)
        raise ModelError(
            f"a tile needs {wanted:,} pixels, because an output pixel sees {seen[0]} x {seen[1]}; "
            f"{int(pixels):,} fit into the memory: allow more"
        )
    half = (seen[0] - seen[1]) / 2
    side = int(math.sqrt(pixels + half * half) - (seen[0] + seen[1]) / 2)
    return max(least, side // least * least)


def run_tiles(
    run: Callable[[Shaped[np.ndarray, "batch height width channels"]], np.ndarray],
    picture: Shaped[np.ndarray, "height width channels"],
    tiles: list[Tile],
    batch: int,
) -> Shaped[np.ndarray, "height width outputs"]:
    """Compute a picture tile by tile.

    Args:
        run: from pictures of one size to results of that size.
        picture: what is cut.
        tiles: of its `layout`.
        batch: tiles of one size that are computed in one call.
    """
    result: np.ndarray | None = None
    for group in _by_size(tiles, batch):
        answers = run(np.stack([picture[tile.read] for tile in group]))
        if result is None:
            result = np.empty((*picture.shape[:2], answers.shape[-1]), answers.dtype)
        for tile, answer in zip(group, answers, strict=True):
            result[tile.keep] = answer[tile.inner]
    assert result is not None
    return result


def _by_size(tiles: list[Tile], batch: int) -> Iterator[list[Tile]]:
    sizes: dict[tuple[int, int], list[Tile]] = {}
    for tile in tiles:
        sizes.setdefault(tile.size, []).append(tile)
    for same in sizes.values():
        for start in range(0, len(same), batch):
            yield same[start : start + batch]


def check_field(
    network: Callable[[Float[Tensor, "1 channels height width"]], Tensor],
    channels: int,
    field: ReceptiveField,
) -> None:
    """See whether a network computes the same on a part of a random picture as on the whole.

    What is compared is the middle, with the overlap that `field` asks for and no more.

    Raises:
        ModelError: it does not; such a network's pictures cannot be cut.
    """
    margin = [max(8, step) // step * step for step in field.alignment]
    first, last, whole = [], [], []
    for b, a, step, m in zip(field.before, field.after, field.alignment, margin, strict=True):
        first.append(m)
        core = m + math.ceil(b / step) * step
        last.append(core + math.ceil((a + 2 * step) / step) * step)
        whole.append(last[-1] + 2 * m)  # not in the middle: a mirrored picture is found out
    generator = torch.Generator().manual_seed(0)
    picture = torch.randn((1, channels, *whole), generator=generator)
    rows, columns = (slice(f, e) for f, e in zip(first, last, strict=True))
    part = network(picture[:, :, rows, columns].contiguous())
    want = network(picture)[:, :, rows, columns]
    inner = [
        slice(b, length - a)
        for b, a, length in zip(field.before, field.after, part.shape[2:], strict=True)
    ]
    error = deviation(want[:, :, inner[0], inner[1]], part[:, :, inner[0], inner[1]])
    if not error <= TOLERANCE:
        raise ModelError(
            "pictures cannot be cut into tiles for this network: on a part of a picture it "
            f"computes something else than on the whole (by {error:.1e} of the largest value)"
        )
