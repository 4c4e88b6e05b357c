"""Read and write measured spaces, by the kind of file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from leanline.errors import ConfigError, DataError
from leanline.tuning.files.kernel_tuner import from_kernel_tuner, write_kernel_tuner
from leanline.tuning.files.parquet import read_parquet, write_parquet
from leanline.tuning.files.t4 import from_t4, write_t4
from leanline.tuning.files.text import read_json
from leanline.tuning.measurements import Measurements
from leanline.types import PathLike

Format = Literal["parquet", "kernel-tuner", "t4"]
"""``parquet``: leanline's own, which keeps everything. ``kernel-tuner``: a cache file. ``t4``: the
exchange format of auto-tuners."""

_WRITERS: dict[str, Callable[[Measurements, Path], None]] = {
    "parquet": write_parquet,
    "kernel-tuner": write_kernel_tuner,
    "t4": write_t4,
}


def read_measurements(path: PathLike) -> Measurements:
    """Read a measured space; Kernel Tuner's and T4's files are told apart by what is in them.

    Args:
        path: A file that ends in ``.parquet``, ``.json`` or ``.json.gz``.

    Raises:
        DataError: The file is missing, cut, too large, of another version or kind, or holds
            values that cannot be.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"there is no file {file}")
    if file.suffix == ".parquet":
        return read_parquet(file)
    if file.suffixes[-1:] == [".json"] or file.suffixes[-2:] == [".json", ".gz"]:
        content = read_json(file)
        if "cache" in content:
            return from_kernel_tuner(file, content)
        if "results" in content:
            return from_t4(file, content)
        raise DataError(
            f"{file} is neither a cache of Kernel Tuner (it has no 'cache') nor a T4 result file "
            "(it has no 'results')"
        )
    raise DataError(f"{file} ends in {file.suffix!r}; .parquet, .json and .json.gz can be read")


def write_measurements(measurements: Measurements, path: PathLike, format: Format) -> None:
    """Write a measured space.

    Args:
        measurements: What was measured.
        path: The file; JSON is gzipped if it ends in ``.gz``.
        format: The kind of file.

    Raises:
        ConfigError: There is no such kind, or it cannot hold the space.
        RunError: The file cannot be written.
    """
    if format not in _WRITERS:
        raise ConfigError(f"format {format!r} was asked for; there are {', '.join(_WRITERS)}")
    _WRITERS[format](measurements, Path(path))
