"""Cache files of Kernel Tuner (JSON, schema versions 1.*, and those before versions)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from leanline.errors import ConfigError, DataError
from leanline.tuning.files.entries import Entry, from_entries, is_value, number
from leanline.tuning.files.text import check_version, field, write_json
from leanline.tuning.measurements import Measurements
from leanline.tuning.space import SearchSpace

FAILED = 1e20
"""What older caches give as the time of a configuration that failed."""

_WORDS = {
    "InvalidConfig": "constraints",
    "CompilationFailedConfig": "compile",
    "RuntimeFailedConfig": "runtime",
}
_BACK = {word: name for name, word in _WORDS.items()} | {
    "timeout": "RuntimeFailedConfig",
    "correctness": "RuntimeFailedConfig",
    "crash": "RuntimeFailedConfig",
}

_WRITTEN_AT = "1970-01-01T00:00:00+00:00"


def from_kernel_tuner(path: Path, content: dict[str, Any]) -> Measurements:
    """Read the content of a cache file.

    Raises:
        DataError: A part is missing, of another version, or cannot be.
    """
    if "schema_version" in content:
        check_version(path, content["schema_version"], "1")
    names = field(path, content, "tune_params_keys", list)
    lists = field(path, content, "tune_params", dict)
    odd = [name for name in names if not isinstance(name, str)]
    if odd:
        raise DataError(f"{path}: 'tune_params_keys' holds {odd[0]!r}, which is no name")
    missing = [name for name in names if not isinstance(lists.get(name), list)]
    if missing:
        raise DataError(f"{path}: 'tune_params' has no list of values for {missing[0]!r}")
    for name in names:
        for value in lists[name]:
            if not is_value(value):
                raise DataError(
                    f"{path}: parameter {name} has the value {value!r}; numbers, text and truth "
                    "values can be"
                )
    try:
        space = SearchSpace({name: lists[name] for name in names})
    except ConfigError as error:
        raise DataError(f"{path}: {error}") from None
    entries = []
    for key, row in field(path, content, "cache", dict).items():
        if not isinstance(row, dict):
            raise DataError(f"{path}: configuration {key!r} is a {type(row).__name__}")
        entries.append(_entry(path, key, row, names))
    return from_entries(
        path,
        space,
        entries,
        str(content.get("kernel_name", "")),
        str(content.get("device_name", "")),
    )


def _entry(path: Path, key: str, row: dict[str, Any], names: list[str]) -> Entry:
    absent = [name for name in names if name not in row]
    if absent:
        raise DataError(f"{path}: configuration {key!r} has no value of {absent[0]!r}")
    configuration = {name: row[name] for name in names}
    time = row.get("__error__", row.get("time"))
    if isinstance(time, str):
        if not time.isidentifier():
            raise DataError(
                f"{path}: the time of configuration {key!r} is the text {time!r}; a number is "
                "wanted, or the name of an error"
            )
        return Entry(configuration, None, failure=_WORDS.get(time, time))
    mean = number(path, f"the time of configuration {key!r}", time)
    if mean >= FAILED:
        return Entry(configuration, None)
    samples = row.get("times") or []
    if not isinstance(samples, list):
        raise DataError(f"{path}: the times of configuration {key!r} are no list")
    return Entry(configuration, mean, [number(path, "a time", each) for each in samples])


def write_kernel_tuner(measurements: Measurements, path: Path) -> None:
    """Write a cache file; constraints have no place in it.

    Raises:
        RunError: The file cannot be written.
    """
    space = measurements.space
    cache = {}
    for code, time, samples in zip(
        measurements.codes.tolist(), measurements.times, measurements.samples, strict=True
    ):
        configuration = space.decode(code)
        failure = measurements.failures.get(code, "runtime")
        ran = bool(np.isfinite(time))
        cache[",".join(str(value) for value in configuration.values())] = {
            **configuration,
            "time": float(time) if ran else _BACK.get(failure, failure),
            **({"times": samples.tolist()} if ran and len(samples) else {}),
            **dict.fromkeys(
                (
                    "compile_time",
                    "verification_time",
                    "benchmark_time",
                    "strategy_time",
                    "framework_time",
                ),
                0.0,
            ),
            "timestamp": _WRITTEN_AT,
        }
    write_json(
        path,
        {
            "schema_version": "1.1.0",
            "device_name": measurements.device,
            "kernel_name": measurements.kernel,
            "problem_size": "",
            "tune_params_keys": list(space.names),
            "tune_params": {
                name: list(values) for name, values in zip(space.names, space.values, strict=True)
            },
            "objective": "time",
            "cache": cache,
        },
    )
