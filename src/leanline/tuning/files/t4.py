"""T4 result files: the exchange format of auto-tuners (JSON, schema versions 1.*)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from leanline.errors import ConfigError, DataError
from leanline.tuning.files.entries import FAILURES, Entry, from_entries, is_value, number
from leanline.tuning.files.text import check_version, field, write_json
from leanline.tuning.measurements import Measurements
from leanline.tuning.space import SearchSpace

_UNITS = {"": 1.0, "ms": 1.0, "milliseconds": 1.0, "s": 1e3, "seconds": 1e3, "us": 1e-3}
"""Milliseconds in a unit; without a unit, milliseconds are meant."""

_UNITS |= {"microseconds": 1e-3, "ns": 1e-6, "nanoseconds": 1e-6}


def from_t4(path: Path, content: dict[str, Any]) -> Measurements:
    """Read the content of a result file.

    The file lists no values that were not measured: the space is made of those that it holds.

    Raises:
        DataError: A part is missing, of another version, or cannot be.
    """
    check_version(path, content.get("schema_version"), "1")
    results = field(path, content, "results", list)
    entries = [_entry(path, at, result) for at, result in enumerate(results)]
    if not entries:
        raise DataError(f"{path} holds no configurations")
    names = list(entries[0].configuration)
    values: dict[str, set[Any]] = {name: set() for name in names}
    for at, entry in enumerate(entries):
        if set(entry.configuration) != set(names):
            raise DataError(f"{path}: result {at} has other parameters than the first one")
        for name, value in entry.configuration.items():
            if not is_value(value):
                raise DataError(f"{path}: result {at} gives {name} as {value!r}")
            values[name].add(value)
    try:
        space = SearchSpace({name: sorted(values[name], key=_order) for name in names})
    except ConfigError as error:
        raise DataError(f"{path}: {error}") from None
    general = content.get("metadata", {})
    known = general if isinstance(general, dict) else {}
    kernel, device = str(known.get("kernel_name", "")), str(known.get("device_name", ""))
    return from_entries(path, space, entries, kernel, device)


def _order(value: Any) -> tuple[bool, Any]:
    return isinstance(value, str), value


def _entry(path: Path, at: int, result: object) -> Entry:
    if not isinstance(result, dict):
        raise DataError(f"{path}: result {at} is a {type(result).__name__}; an object is wanted")
    configuration = field(path, result, "configuration", dict)
    failure = field(path, result, "invalidity", str)
    if failure != "correct":
        if failure not in FAILURES:
            raise DataError(f"{path}: result {at} has the invalidity {failure!r}, which is none")
        return Entry(configuration, None, failure=failure)
    times = field(path, result, "times", dict)
    runs = times.get("runtimes", [])
    if not isinstance(runs, list):
        raise DataError(f"{path}: the runtimes of result {at} are no list")
    samples = [number(path, f"a runtime of result {at}", each) for each in runs]
    return Entry(configuration, _time(path, at, result, samples), samples)


def _time(path: Path, at: int, result: dict[str, Any], samples: list[float]) -> float:
    """The measurement called time, or else the mean of the single runs."""
    listed = result.get("measurements", [])
    for each in listed if isinstance(listed, list) else []:
        if isinstance(each, dict) and each.get("name") == "time":
            unit = str(each.get("unit", "")).lower()
            if unit not in _UNITS:
                raise DataError(f"{path}: result {at} gives a time in {unit!r}")
            return number(path, f"the time of result {at}", each.get("value")) * _UNITS[unit]
    if not samples:
        raise DataError(f"{path}: result {at} has no time and no runtimes")
    return float(np.mean(samples))


def write_t4(measurements: Measurements, path: Path) -> None:
    """Write a result file; values that were never measured, and constraints, have no place in it.

    Raises:
        RunError: The file cannot be written.
    """
    results = []
    for code, time, samples in zip(
        measurements.codes.tolist(), measurements.times, measurements.samples, strict=True
    ):
        ran = bool(np.isfinite(time))
        failure = measurements.failures.get(code, "runtime")
        results.append(
            {
                "configuration": measurements.space.decode(code),
                "times": {"runtimes": samples.tolist() if ran else []},
                "invalidity": "correct" if ran else (failure if failure in FAILURES else "runtime"),
                "correctness": float(ran),
                "objectives": ["time"],
                "measurements": [{"name": "time", "value": float(time), "unit": "ms"}]
                if ran
                else [],
            }
        )
    write_json(
        path,
        {
            "schema_version": "1.0.0",
            "metadata": {
                "kernel_name": measurements.kernel,
                "device_name": measurements.device,
            },
            "results": results,
        },
    )
