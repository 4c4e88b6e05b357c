"""Measured spaces as Parquet: a row a configuration, the space in the file's metadata.

Columns: one a parameter (as JSON where its values are some text and some numbers), ``time_mean`` in
ms, ``time_1``, ``time_2``, ... of single runs. A file that leanline writes keeps failed
configurations: ``time_mean`` is infinite, ``failure`` says why.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from leanline.errors import ConfigError, DataError
from leanline.records.atomic import atomic_write
from leanline.tuning.files.entries import is_value
from leanline.tuning.files.text import field
from leanline.tuning.measurements import Measurements
from leanline.tuning.space import SearchSpace

KEY = b"autotune_space"
"""Key of the file's metadata under which the space is."""

MOST_ROWS = 100_000_000
"""Configurations that are read at most."""


def read_parquet(path: Path) -> Measurements:
    """Read a measured space.

    Raises:
        DataError: The file is missing, cut, too large, has no space in its metadata, or its rows
            do not fit the space.
    """
    try:
        with pq.ParquetFile(path) as file:
            rows, metadata = file.metadata.num_rows, file.schema_arrow.metadata or {}
            if rows > MOST_ROWS:
                raise DataError(f"{path} has {rows:,} rows; at most {MOST_ROWS:,} are read")
            if KEY not in metadata:
                raise DataError(f"{path} has no search space in its metadata ({KEY.decode()})")
            table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"cannot read {path}: {error}") from None
    try:
        about = json.loads(metadata[KEY])
    except ValueError as error:
        raise DataError(f"{path}: its search space is no JSON: {error}") from None
    if not isinstance(about, dict):
        raise DataError(f"{path}: its search space is a JSON {type(about).__name__}")
    return _measurements(path, about, table)


def _measurements(path: Path, about: dict[str, Any], table: Any) -> Measurements:
    lists = field(path, about, "tune_params", dict)
    constants = field(path, {"fixed_params": {}, **about}, "fixed_params", dict)
    constraints = field(path, {"restrictions": [], **about}, "restrictions", list)
    for name, values in lists.items():
        if not isinstance(values, list) or not all(map(is_value, values)):
            raise DataError(f"{path}: parameter {name} has the values {values!r}")
    if not all(isinstance(each, str) for each in constraints):
        raise DataError(f"{path}: 'restrictions' holds something else than text")
    if not all(map(is_value, constants.values())):
        raise DataError(f"{path}: 'fixed_params' holds something else than numbers and text")
    try:
        space = SearchSpace(lists, constraints, constants)
    except ConfigError as error:
        raise DataError(f"{path}: {error}") from None
    if len(set(table.column_names)) < len(table.column_names):
        raise DataError(f"{path} has two columns of one name")
    absent = [name for name in (*space.names, "time_mean") if name not in table.column_names]
    if absent:
        raise DataError(f"{path} has no column {absent[0]!r}")
    codes = np.zeros(table.num_rows, dtype=np.int64)
    for name, values, stride in zip(space.names, space.values, space.strides, strict=True):
        codes += stride * _positions(path, name, values, table[name].to_pylist())
    order = np.argsort(codes, kind="stable")
    draws = 0
    while f"time_{draws + 1}" in table.column_names:
        draws += 1
    try:
        times = table["time_mean"].to_numpy().astype(np.float64)
        samples = np.empty((len(codes), draws), dtype=np.float32)
        with np.errstate(over="ignore"):  # what becomes infinite is refused below
            for draw in range(draws):
                samples[:, draw] = table[f"time_{draw + 1}"].to_numpy()
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: times are no numbers: {error}") from None
    reasons = table["failure"].to_pylist() if "failure" in table.column_names else []
    failures = {int(code): str(why) for code, why in zip(codes, reasons, strict=False) if why}
    noted = about.get("about", {})
    try:
        return Measurements(
            space=space,
            codes=codes[order],
            times=times[order],
            samples=samples[order],
            failures=failures,
            kernel=str(about.get("kernel", "")),
            device=str(about.get("gpu", "")),
            about=noted if isinstance(noted, dict) else {},
        )
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _positions(path: Path, name: str, values: tuple[Any, ...], column: list[Any]) -> np.ndarray:
    positions = {value: at for at, value in enumerate(values)}
    if is_mixed(values):
        positions = {json.dumps(value): at for value, at in positions.items()}
    try:
        return np.array([positions[value] for value in column], dtype=np.int64)
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{path}: column {name} holds {error.args[0]!r}, which is none of its values"
        ) from None


def is_mixed(values: tuple[Any, ...]) -> bool:
    """Whether values are some text and some numbers, which a column of Parquet cannot be."""
    return len({isinstance(value, str) for value in values}) > 1


def write_parquet(measurements: Measurements, path: Path) -> None:
    """Write a measured space.

    Raises:
        ConfigError: A constraint of the space is a Python function, which no file can hold.
        RunError: The file cannot be written.
    """
    space = measurements.space
    functions = [each for each in space.constraints if not isinstance(each, str)]
    if functions:
        raise ConfigError(
            f"{path}: {len(functions)} constraints of the space are Python functions, which no "
            "file can hold; give them as text"
        )
    about = {
        "kernel": measurements.kernel,
        "gpu": measurements.device,
        "time_unit": "ms",
        "tune_params": {
            name: list(values) for name, values in zip(space.names, space.values, strict=True)
        },
        "fixed_params": space.constants,
        "restrictions": list(space.constraints),
        "n_cartesian": space.cartesian_size,
        "about": dict(measurements.about),
    }
    columns: dict[str, Any] = dict(space.columns(measurements.codes))
    for name, values in zip(space.names, space.values, strict=True):
        if is_mixed(values):
            columns[name] = [json.dumps(value) for value in columns[name]]
    columns["time_mean"] = measurements.times
    for draw in range(measurements.samples.shape[1]):
        columns[f"time_{draw + 1}"] = measurements.samples[:, draw]
    if measurements.failures:
        columns["failure"] = [measurements.failures.get(int(c), "") for c in measurements.codes]
    table = pa.table(columns).replace_schema_metadata({KEY: json.dumps(about).encode()})
    with atomic_write(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
