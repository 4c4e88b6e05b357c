"""Outputs on the disk: files that are made whole at once and filled in any order, and renaming."""

import os
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from leanline.errors import RunError

_AT_ONCE = 8  # files


class Block:
    """The values of an array in a file, one after the other without compression.

    Args:
        path: the file, as long as it will be.
        offset: bytes before the first value.
        shape: slices, height, width and maybe channels.
        dtype: of the values in the file, with its byte order.

    Raises:
        RunError: the file cannot be opened.
    """

    def __init__(
        self, path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self.path, self._offset, self._shape, self._dtype = path, offset, shape, dtype
        self._step = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
        try:
            self._descriptor = os.open(path, os.O_RDWR)
        except OSError as error:
            raise RunError(f"cannot write {path}: {error.strerror}") from error

    def write(self, start: int, values: np.ndarray) -> None:
        """Write slices from `start` on.

        Raises:
            RunError: the disk is full, or otherwise refuses.
        """
        given = values[..., 0] if values.ndim == len(self._shape) + 1 else values
        plain = np.ascontiguousarray(given, dtype=self._dtype)
        if plain.shape[1:] != self._shape[1:] or not 0 <= start <= self._shape[0] - len(plain):
            raise RunError(
                f"{self.path} takes {self._shape} values, not {plain.shape} from slice {start} on"
            )
        left, at = memoryview(plain).cast("B"), self._offset + start * self._step
        try:
            while left:
                done = os.pwrite(self._descriptor, left, at)
                left, at = left[done:], at + done
        except OSError as error:
            raise RunError(_refused(self.path, error)) from error

    def sync(self) -> None:
        """Bring what was written to the disk.

        Raises:
            RunError: the disk refuses.
        """
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise RunError(_refused(self.path, error)) from error

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def check_space(path: Path, wanted: int) -> None:
    """Refuse an output that cannot fit.

    Args:
        path: the output, in a folder that exists.
        wanted: bytes.

    Raises:
        RunError: there is no such folder, or less space in it.
    """
    try:
        free = shutil.disk_usage(path.parent).free
    except OSError as error:
        raise RunError(f"cannot write {path}: there is no folder {path.parent}") from error
    if free < wanted:
        raise RunError(
            f"cannot write {path}: it takes {wanted / 1e6:,.1f} MB and {free / 1e6:,.1f} MB are "
            "free there"
        )


def rename(partial: Path, final: Path) -> None:
    """Give a finished file or folder its name, and bring that to the disk.

    Raises:
        RunError: the system refused.
    """
    try:
        if final.is_dir() and not any(final.iterdir()):
            final.rmdir()
        partial.rename(final)
        _flush(final.parent)
    except OSError as error:
        raise RunError(f"cannot rename {partial} to {final}: {error.strerror}") from error


def flush(paths: Iterable[Path]) -> None:
    """Bring files, and the names of files in folders, to the disk: many at a time, for each waits.

    Raises:
        RunError: the disk refuses.
    """
    found = list(paths)
    try:
        if found:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                list(pool.map(_flush, found))
    except OSError as error:
        raise RunError(_refused(found[0], error)) from error


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refused(path: Path, error: OSError) -> str:
    try:
        free = f" ({shutil.disk_usage(path.parent).free / 1e6:,.1f} MB are free there)"
    except OSError:
        free = ""
    return f"cannot write {path}: {error.strerror}{free}"
