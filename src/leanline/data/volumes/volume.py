"""What every format of volume offers: slices that are read, and slices that are written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Num, Shaped

from leanline.errors import DataError, RunError

Values = Shaped[np.ndarray, "slices height width channels"]
"""Some slices of one size, in the units and the dtype of their file."""

RECORD = "leanline"
"""The key under which an output's metadata say how it was made."""

PARTIAL = ".partial"
"""What the name of an output ends in until all of it is written."""


@runtime_checkable
class Source(Protocol):
    """A volume that is read. Slices are along the first axis; colours are the last one."""

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        ...

    @property
    def slices(self) -> int:
        """How many there are; at least one."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values in the file, in this machine's byte order."""
        ...

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colours, or the length of a fourth axis."""
        ...

    @property
    def depth(self) -> int:
        """How many slices the file keeps together; reading as many at once is quickest."""
        ...

    @property
    def traits(self) -> Mapping[str, Any]:
        """What an output of the same format takes over, such as names of pictures."""
        ...

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of a slice."""
        ...

    def read(self, start: int, stop: int) -> Values:
        """Slices `start` to `stop`, which must have one size.

        Raises:
            DataError: they cannot be read; the message names the file and the slice.
        """
        ...

    def identity(self) -> Mapping[str, Any]:
        """What tells this volume from another one, or from itself after a change: plain values."""
        ...

    def stamp(self, start: int, stop: int) -> str:
        """What changes when slices are changed that `identity` does not see; may be empty."""
        ...

    def close(self) -> None:
        """Close its files."""
        ...


@dataclass(frozen=True)
class Layout:
    """The form of an output.

    Attributes:
        sizes: height and width of every slice.
        dtype: of its values.
        channels: of each slice; None where a slice is one grey picture without such an axis.
        record: how it is made, for its metadata: plain values.
        traits: of the input's format, for an output of the same one.
    """

    sizes: Sequence[tuple[int, int]]
    dtype: np.dtype[Any]
    channels: int | None
    record: Mapping[str, Any] = field(default_factory=dict)
    traits: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array that holds all slices: slices, height, width and maybe channels.

        Raises:
            DataError: the slices have several sizes.
        """
        several = sorted(set(self.sizes))
        if len(several) > 1:
            shown = ", ".join(f"{height} x {width}" for height, width in several[:3])
            raise DataError(
                f"the slices have {len(several)} sizes ({shown}): only a folder of pictures can "
                "hold them; give OUT without a suffix"
            )
        last = () if self.channels is None else (self.channels,)
        return (len(self.sizes), *several[0], *last)


@runtime_checkable
class Sink(Protocol):
    """A volume that is written, in any order and by any number of processes.

    It lies under a name that ends in `PARTIAL` until `finish`.
    """

    def write(self, start: int, values: Num[np.ndarray, "slices height width channels"]) -> None:
        """Write slices from `start` on; again is no harm.

        Raises:
            RunError: the system refused, for example because the disk is full.
        """
        ...

    def sync(self) -> None:
        """Bring everything that was written to the disk."""
        ...

    def finish(self) -> None:
        """Give the output its name; all slices must be written and synchronised."""
        ...

    def close(self) -> None:
        """Close its files."""
        ...


def partial_of(path: Path) -> Path:
    """Where an output lies until it is finished."""
    return path.with_name(path.name + PARTIAL)


def check_range(place: str, start: int, stop: int, slices: int) -> None:
    """Refuse slices that are not there.

    Raises:
        DataError: `start` to `stop` is no range of the volume's slices.
    """
    if not 0 <= start < stop <= slices:
        raise DataError(f"slices {start} to {stop} asked for of {place}, which has {slices}")


def check_dtype(place: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in this machine's byte order.

    Raises:
        DataError: its values are no real numbers.
    """
    if dtype.kind not in "buif":
        raise DataError(f"{place} holds {dtype} values; real numbers are needed")
    return dtype.newbyteorder("=")


class Slabs:
    """Reads a volume that is stored in blocks of several slices, each block once.

    Args:
        read: gives slices start to stop.
        slices: how many there are.
        depth: slices in a block.
        slice_bytes: of one slice.
    """

    MOST = 2**28
    """Bytes of slices that are held; where a block has more, slices are read one by one."""

    def __init__(
        self, read: Callable[[int, int], np.ndarray], slices: int, depth: int, slice_bytes: int
    ) -> None:
        self._read, self._slices = read, slices
        self.depth = depth if depth * slice_bytes <= self.MOST else 1
        self._start, self._held = 0, np.empty((0,))

    def read(self, start: int, stop: int) -> np.ndarray:
        """Slices start to stop; in order of their numbers is quickest."""
        if self.depth == 1:
            return self._read(start, stop)
        parts = []
        while start < stop:
            if not self._start <= start < self._start + len(self._held):
                self._start = start - start % self.depth
                self._held = np.empty((0,))  # before the next one is there too
                self._held = self._read(self._start, min(self._start + self.depth, self._slices))
            end = min(stop, self._start + len(self._held))
            parts.append(self._held[start - self._start : end - self._start])
            start = end
        return parts[0].copy() if len(parts) == 1 else np.concatenate(parts)


def missing_package(name: str, place: object) -> RunError:
    """The error for a format whose package is not installed."""
    return RunError(f"{place}: the package {name} is not installed; pip install leanline[volumes]")
