"""A TIFF file of many pages, also larger than 4 GB (BigTIFF)."""

import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from leanline.data.volumes.in_place import Block, check_space, rename
from leanline.data.volumes.volume import (
    RECORD,
    Layout,
    Values,
    check_dtype,
    check_range,
    partial_of,
)
from leanline.errors import DataError
from leanline.records.atomic import atomic_write

_CLASSIC = 2**32 - 2**26  # bytes that a TIFF of 32-bit offsets holds, less its headers
_PAGE = 512  # bytes of a page's header, at most


class TiffStack:
    """A TIFF stack that is read page by page.

    Args:
        path: the file. Pages must have one size and kind; of several axes before the picture's
            own (channels, times) the slices are taken in the order of the file.

    Raises:
        DataError: no TIFF, cut off in its headers, or pages of several kinds.
    """

    depth = 1

    def __init__(self, path: Path) -> None:
        self.path, self.place = path, str(path)
        self.traits: Mapping[str, Any] = {}
        try:
            self._file = tifffile.TiffFile(path)
        except (OSError, ValueError, tifffile.TiffFileError) as error:
            raise DataError(f"{path} cannot be read as a TIFF stack: {error}") from error
        try:
            self._look()
        except DataError:
            self.close()
            raise

    def _look(self) -> None:
        path = self.path
        try:
            series = self._file.series
        except (OSError, ValueError, tifffile.TiffFileError, KeyError) as error:
            raise DataError(f"{path} cannot be read as a TIFF stack: {error}") from error
        if _is_cut(self._file):
            raise DataError(f"{path} is cut off: it names a page behind its end")
        if not series or series[0].dtype is None:
            raise DataError(f"{path} holds no pictures")
        if len(series) > 1:
            shapes = " and ".join(str(one.shape) for one in series[:2])
            raise DataError(f"{path} holds pages of several kinds ({shapes}); a stack has one")
        self._series, axes, shape = series[0], series[0].axes, series[0].shape
        self._colour = axes[-3:] if axes.endswith(("YXS", "SYX")) else axes[-2:]
        if not axes.endswith(("YX", "YXS")) or min(shape) < 1:
            raise DataError(f"{path} has the axes {axes}: each slice must be a picture, YX or YXS")
        last = shape[-len(self._colour) :]
        sides = dict(zip(self._colour, last, strict=True))
        self._page = tuple(last)
        self._size, self.channels = (sides["Y"], sides["X"]), sides.get("S", 1)
        self.slices = int(np.prod(shape[: -len(last)], dtype=np.int64))
        self.dtype = check_dtype(self.place, np.dtype(series[0].dtype))
        self._stored = np.dtype(series[0].dtype).newbyteorder(self._file.byteorder)
        self._offset = self._contiguous()

    def _contiguous(self) -> int | None:
        """Where all slices lie one after the other, if they do."""
        if self._stored.kind == "b":  # eight pixels a byte
            return None
        offset: int | None = self._series.dataoffset
        return offset

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of a slice."""
        return self._size

    def read(self, start: int, stop: int) -> Values:
        """Slices `start` to `stop`.

        Raises:
            DataError: one of them is damaged or cut off.
        """
        check_range(self.place, start, stop, self.slices)
        found = self._block(start, stop) if self._offset is not None else self._pages(start, stop)
        if self._colour == "SYX":
            found = np.moveaxis(found, 1, -1)
        return found if self._colour != "YX" else found[..., None]

    def _block(self, start: int, stop: int) -> np.ndarray:
        values = np.empty((stop - start, *self._page), self._stored)
        assert self._offset is not None
        left = memoryview(values).cast("B")
        at = self._offset + start * (values.nbytes // len(values))
        while left:
            part = os.preadv(self._file.filehandle.fileno(), [left], at)
            if part == 0:
                whole = (values.nbytes - len(left)) * len(values) // values.nbytes
                raise DataError(f"{self.path} is cut off in slice {start + whole}")
            left, at = left[part:], at + part
        return values.astype(self.dtype, copy=False)

    def _pages(self, start: int, stop: int) -> np.ndarray:
        found = np.empty((stop - start, *self._page), self.dtype)
        for index in range(start, stop):
            try:
                page = self._series.pages[index]
                if page is None:
                    raise ValueError("the page is missing")
                found[index - start] = page.asarray().reshape(self._page)
            except Exception as error:  # decoders of many kinds raise errors of many kinds
                raise DataError(
                    f"{self.path}, slice {index} is damaged or cut off: {error}"
                ) from error
        return found

    def identity(self) -> Mapping[str, Any]:
        """Path, form and date of the file."""
        about = self.path.stat()
        return {
            "path": str(self.path.absolute()),
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


def _is_cut(file: tifffile.TiffFile) -> bool:
    """Whether the last page that is found says that another one follows."""
    if not len(file.pages):
        return False
    form, handle, at = file.tiff, file.filehandle, file.pages[-1].offset
    handle.seek(at)
    (tags,) = struct.unpack(form.tagnoformat, handle.read(form.tagnosize))
    handle.seek(at + form.tagnosize + tags * form.tagsize)
    found = handle.read(form.offsetsize)
    return len(found) < form.offsetsize or struct.unpack(form.offsetformat, found) != (0,)


class TiffStackSink:
    """A TIFF stack of full length whose pages are filled in any order.

    Args:
        path: the stack that is wanted, `*.tif` or `*.tiff`.
        layout: its form; several channels are samples of a pixel.

    Raises:
        DataError: slices of several sizes, or a dtype that TIFF does not have.
        RunError: it cannot be written.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path, self._partial = path, partial_of(path)
        shape, dtype = layout.shape, layout.dtype
        if not self._partial.exists():
            size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            check_space(path, size)
            big = size + _PAGE * shape[0] > _CLASSIC
            with atomic_write(self._partial) as temporary:
                _write_empty(temporary, shape, dtype, big, layout.record)
        try:
            with tifffile.TiffFile(self._partial) as opened:
                offset = opened.series[0].dataoffset
                stored = np.dtype(opened.series[0].dtype).newbyteorder(opened.byteorder)
                fits = opened.series[0].shape == shape and stored == dtype
        except (OSError, ValueError, tifffile.TiffFileError) as error:
            raise DataError(f"{self._partial} is damaged: {error}; remove it") from error
        if offset is None or not fits:
            raise DataError(f"{self._partial} is not of the form {shape} {dtype}; remove it")
        self._block = Block(self._partial, int(offset), shape, stored)
        self.write, self.sync, self.close = self._block.write, self._block.sync, self._block.close

    def finish(self) -> None:
        """Rename the file."""
        self.close()
        rename(self._partial, self.path)


def _write_empty(
    path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], big: bool, record: Mapping[str, Any]
) -> None:
    colour = len(shape) == 4 and shape[-1] == 3 and dtype.kind == "u"
    with tifffile.TiffWriter(path, bigtiff=big) as writer:
        writer.write(
            None,
            shape=shape,
            dtype=dtype,
            photometric="rgb" if colour else "minisblack",
            planarconfig="contig" if len(shape) == 4 else None,
            metadata={"axes": "ZYXS"[: len(shape)], RECORD: json.dumps(dict(record))},
        )


def read_tiff_record(path: Path) -> dict[str, Any] | None:
    """How a stack was made, if leanline made it."""
    try:
        with tifffile.TiffFile(path) as opened:
            found = (opened.shaped_metadata or ({},))[0].get(RECORD)
            return dict(json.loads(found)) if found else None
    except (OSError, ValueError, tifffile.TiffFileError, AttributeError, TypeError):
        return None
