"""A Zarr array, of format 2 or 3, as a store of its own or inside one: `store.zarr/path`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from leanline.data.volumes.in_place import flush, rename
from leanline.data.volumes.volume import (
    RECORD,
    Layout,
    Slabs,
    Values,
    check_dtype,
    check_range,
    missing_package,
    partial_of,
)
from leanline.errors import DataError, RunError

_TILE = 1024  # pixels of a chunk's side in an output


def _zarr(place: object) -> Any:
    try:
        import zarr
    except ImportError as error:
        raise missing_package("zarr", place) from error
    return zarr


class ZarrVolume:
    """A Zarr array [slices, height, width] or [slices, height, width, channels].

    Args:
        path: the folder of the array, or of a group that holds a single one.

    Raises:
        DataError: no array, one of another form, or a group of several.
    """

    def __init__(self, path: Path) -> None:
        self.place = str(path)
        self._array = _open(path)
        shape = tuple(self._array.shape)
        if len(shape) not in (2, 3, 4) or min(shape) < 1:
            raise DataError(
                f"{path} has the shape {shape}: slices x height x width is needed, or slices x "
                "height x width x channels"
            )
        self._two = len(shape) == 2
        shape = (1, *shape) if self._two else shape
        self.slices, self._size = shape[0], (shape[1], shape[2])
        self.channels = shape[3] if len(shape) == 4 else 1
        self.dtype = check_dtype(self.place, np.dtype(self._array.dtype))
        self.traits: Mapping[str, Any] = {"zarr_format": self._array.metadata.zarr_format}
        blocks = self._array.shards or self._array.chunks
        step = int(np.prod(shape[1:], dtype=np.int64)) * self.dtype.itemsize
        self._slabs = Slabs(self._load, self.slices, 1 if self._two else blocks[0], step)
        self.depth = self._slabs.depth

    def _load(self, start: int, stop: int) -> np.ndarray:
        try:
            found = self._array[:] if self._two else self._array[start:stop]
        except Exception as error:  # codecs of many kinds raise errors of many kinds
            raise DataError(
                f"{self.place}, slices {start} to {stop} are damaged: {error}"
            ) from error
        values = np.asarray(found).astype(self.dtype, copy=False)
        return values[None] if self._two else values

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of a slice."""
        return self._size

    def read(self, start: int, stop: int) -> Values:
        """Slices `start` to `stop`.

        Raises:
            DataError: a chunk is damaged.
        """
        check_range(self.place, start, stop, self.slices)
        found = self._slabs.read(start, stop)
        return found if found.ndim == 4 else found[..., None]

    def identity(self) -> Mapping[str, Any]:
        """Path and form; chunks have no date together."""
        return {
            "path": str(Path(self.place).absolute()),
            "shape": [self.slices, *self._size, self.channels],
            "dtype": str(self.dtype),
        }

    def stamp(self, start: int, stop: int) -> str:
        """Nothing beside the identity."""
        return ""

    def close(self) -> None:
        """Nothing is open."""


class ZarrSink:
    """A Zarr array of a slice a chunk (large slices: several), which processes may write at once.

    Args:
        path: the folder of the array; a store above it is made, as a group, if there is none.
        layout: its form; the format is that of the input, else 3.

    Raises:
        DataError: slices of several sizes.
        RunError: it cannot be written.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        zarr = _zarr(path)
        self.path, self._partial = path, partial_of(path)
        shape, version = layout.shape, int(layout.traits.get("zarr_format", 3))
        if not self._partial.exists():
            fresh = self._partial.with_name(self._partial.name + ".new")
            try:
                store = store_of(path)
                if store is not None and not store.exists():
                    zarr.open_group(store, mode="w-", zarr_format=version)
                zarr.create_array(
                    fresh,
                    shape=shape,
                    dtype=layout.dtype,
                    chunks=(1, *(min(n, _TILE) for n in shape[1:3]), *shape[3:]),
                    zarr_format=version,
                    attributes={RECORD: dict(layout.record)},
                    overwrite=True,
                )
            except OSError as error:
                raise RunError(f"cannot write {path}: {error.strerror or error}") from error
            rename(fresh, self._partial)
        self._array = _open(self._partial, "r+")
        if tuple(self._array.shape) != shape or self._array.dtype != layout.dtype:
            raise DataError(f"{self._partial} is not of the form {shape} {layout.dtype}; remove it")
        self._unsynced: set[int] = set()

    def write(self, start: int, values: np.ndarray) -> None:
        """Write slices from `start` on.

        Raises:
            RunError: the disk is full, or otherwise refuses.
        """
        given = values[..., 0] if values.ndim == self._array.ndim + 1 else values
        if given.shape[1:] != self._array.shape[1:]:
            raise RunError(f"{self._partial} takes {self._array.shape} values, not {given.shape}")
        stop = start + len(given)
        try:
            self._array[start:stop] = given
        except OSError as error:
            raise RunError(f"cannot write {self._partial}: {error.strerror or error}") from error
        self._unsynced.update(range(start, stop))

    def sync(self) -> None:
        """Bring the chunks that were written to the disk; chunks of zeros have no file."""
        chunks = self._array.chunks
        across = [range(-(-n // c)) for n, c in zip(self._array.shape[1:], chunks[1:], strict=True)]
        grid = list(np.ndindex(*(len(side) for side in across)))
        files = set()
        for index in self._unsynced:
            for rest in grid:
                key = self._array.metadata.encode_chunk_key((index, *rest))
                file = self._partial / key
                if file.exists():
                    files.add(file)
        flush(files)
        flush({file.parent for file in files})
        self._unsynced.clear()

    def finish(self) -> None:
        """Rename the array's folder."""
        for leftover in self._partial.rglob("*.partial"):  # of writers that were killed
            leftover.unlink()
        rename(self._partial, self.path)

    def close(self) -> None:
        """Nothing is open."""


def read_zarr_record(path: Path) -> dict[str, Any] | None:
    """How an array was made, if leanline made it."""
    try:
        return dict(_open(path).attrs[RECORD])
    except (DataError, RunError, KeyError, TypeError, ValueError):
        return None


def _open(path: Path, mode: str = "r") -> Any:
    zarr = _zarr(path)
    try:
        found = zarr.open(path, mode=mode)
    except Exception as error:  # missing and damaged metadata raise errors of many kinds
        raise DataError(f"{path} cannot be opened as a Zarr array: {error}") from error
    if isinstance(found, zarr.Array):
        return found
    arrays = sorted(
        name for name, item in found.members(max_depth=None) if isinstance(item, zarr.Array)
    )
    if len(arrays) == 1:
        return found[arrays[0]]
    if not arrays:
        raise DataError(f"{path} is a group without an array")
    shown = ", ".join(f"{path}/{name}" for name in arrays[:5])
    raise DataError(f"{path} holds {len(arrays)} arrays: give one of them, such as {shown}")


def store_of(path: Path) -> Path | None:
    """The store that an array lies in, if its path goes on behind one."""
    above = [one for one in path.parents if one.suffix == ".zarr"]
    return above[-1] if above else None
