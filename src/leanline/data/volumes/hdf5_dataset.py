"""A dataset of an HDF5 file: `file.h5:/dataset`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from leanline.data.volumes.in_place import Block, check_space, rename
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
from leanline.records.atomic import atomic_write

DATASET = "data"
"""Name of an output's dataset where none was given."""


def _h5py(place: object) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise missing_package("h5py", place) from error
    return h5py


class Hdf5Volume:
    """A dataset [slices, height, width] or [slices, height, width, channels].

    Args:
        path: the file.
        dataset: its name; empty where the file holds a single one.

    Raises:
        DataError: no such file or dataset, or one of another form.
    """

    def __init__(self, path: Path, dataset: str) -> None:
        h5py = _h5py(path)
        self.path = path
        try:
            self._file = h5py.File(path, "r")
        except OSError as error:
            raise DataError(f"{path} cannot be read as HDF5: {error}") from error
        try:
            self._look(h5py, dataset)
        except DataError:
            self.close()
            raise

    def _look(self, h5py: Any, dataset: str) -> None:
        path = self.path
        name = dataset or _only_dataset(h5py, self._file, path)
        self.place = f"{path}:{name}"
        found = self._file.get(name)
        if not isinstance(found, h5py.Dataset):
            known = ", ".join(_datasets(h5py, self._file)[:5]) or "none"
            raise DataError(f"{path} has no dataset {name}; it has {known}")
        shape = tuple(found.shape or ())
        if len(shape) not in (2, 3, 4) or min(shape) < 1:
            raise DataError(
                f"{self.place} has the shape {shape}: slices x height x width is needed, or "
                "slices x height x width x channels"
            )
        self._set, self._two = found, len(shape) == 2
        shape = (1, *shape) if self._two else shape
        self.slices, self._size = shape[0], (shape[1], shape[2])
        self.channels = shape[3] if len(shape) == 4 else 1
        self.dtype = check_dtype(self.place, np.dtype(found.dtype))
        self.traits: Mapping[str, Any] = {"dataset": name}
        step = int(np.prod(shape[1:], dtype=np.int64)) * self.dtype.itemsize
        chunk = found.chunks[0] if found.chunks and not self._two else 1
        self._slabs = Slabs(self._load, self.slices, chunk, step)
        self.depth = self._slabs.depth

    def _load(self, start: int, stop: int) -> np.ndarray:
        try:
            found = self._set[()] if self._two else self._set[start:stop]
        except (OSError, RuntimeError, ValueError) as error:
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
        """Path, form and date."""
        about = self.path.stat()
        return {
            "path": f"{self.path.absolute()}:{self.traits['dataset']}",
            "shape": [self.slices, *self._size, self.channels],
            "dtype": str(self.dtype),
            "bytes": about.st_size,
            "changed": about.st_mtime_ns,
        }

    def stamp(self, start: int, stop: int) -> str:
        """Nothing beside the identity."""
        return ""

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Hdf5Sink:
    """A new HDF5 file with one dataset, uncompressed, which is filled in any order.

    HDF5 itself is closed before the first slice is written, to the place of the values: a killed
    process leaves no file that HDF5 cannot read.

    Args:
        path: the file.
        dataset: its name; empty for that of the input, else `DATASET`.
        layout: its form.

    Raises:
        DataError: slices of several sizes.
        RunError: it cannot be written.
    """

    def __init__(self, path: Path, dataset: str, layout: Layout) -> None:
        h5py = _h5py(path)
        self.path, self._partial = path, partial_of(path)
        name = dataset or str(layout.traits.get("dataset", DATASET))
        shape = layout.shape
        if not self._partial.exists():
            check_space(path, int(np.prod(shape, dtype=np.int64)) * layout.dtype.itemsize)
            with atomic_write(self._partial) as temporary:
                _write_empty(h5py, temporary, name, shape, layout)
        try:
            with h5py.File(self._partial, "r") as file:
                found = file[name]
                offset, stored, fits = found.id.get_offset(), found.dtype, found.shape == shape
        except (OSError, KeyError) as error:
            raise DataError(f"{self._partial} is damaged: {error}; remove it") from error
        if offset is None or not fits or stored != layout.dtype:
            raise DataError(f"{self._partial} is not of the form {shape} {layout.dtype}; remove it")
        self._block = Block(self._partial, int(offset), shape, stored)
        self.write, self.sync, self.close = self._block.write, self._block.sync, self._block.close

    def finish(self) -> None:
        """Rename the file."""
        self.close()
        rename(self._partial, self.path)


def _write_empty(h5py: Any, path: Path, name: str, shape: tuple[int, ...], layout: Layout) -> None:
    try:
        with h5py.File(path, "w") as file:
            create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            create.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)  # so that its place is known
            create.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            create.set_obj_track_times(False)  # or the same data would be other bytes
            above, _, last = name.strip("/").rpartition("/")
            group = file.require_group(above) if above else file
            kind = h5py.h5t.py_create(layout.dtype, logical=True)
            space = h5py.h5s.create_simple(shape)
            h5py.h5d.create(group.id, last.encode(), kind, space, dcpl=create)
            file[name].attrs[RECORD] = json.dumps(dict(layout.record))
    except (OSError, ValueError) as error:
        raise RunError(f"cannot make the dataset {name} in {path}: {error}") from error


def read_hdf5_record(path: Path, dataset: str) -> dict[str, Any] | None:
    """How a dataset was made, if leanline made it."""
    h5py = _h5py(path)
    try:
        with h5py.File(path, "r") as file:
            name = dataset or _only_dataset(h5py, file, path)
            return dict(json.loads(file[name].attrs[RECORD]))
    except (OSError, KeyError, TypeError, ValueError, DataError):
        return None


def _datasets(h5py: Any, file: Any) -> list[str]:
    found: list[str] = []
    file.visititems(
        lambda name, item: found.append(f"/{name}") if isinstance(item, h5py.Dataset) else None
    )
    return sorted(found)


def _only_dataset(h5py: Any, file: Any, path: Path) -> str:
    found = _datasets(h5py, file)
    if len(found) == 1:
        return found[0]
    if not found:
        raise DataError(f"{path} holds no dataset")
    shown = ", ".join(f"{path}:{name}" for name in found[:5])
    raise DataError(f"{path} holds {len(found)} datasets: give one of them, such as {shown}")
