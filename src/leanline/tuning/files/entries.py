"""From configurations with times, as files list them, to measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from leanline.errors import ConfigError, DataError
from leanline.tuning.measurements import Measurements
from leanline.tuning.space import SearchSpace

FAILURES = ("timeout", "compile", "runtime", "correctness", "constraints")
"""Why a configuration may have failed, in T4's words."""


@dataclass(frozen=True)
class Entry:
    """A configuration as a file has it.

    Attributes:
        configuration: Parameter to value.
        time: Mean time in ms; None: it failed.
        samples: Times of single runs in ms.
        failure: Why it failed.
    """

    configuration: Mapping[str, Any]
    time: float | None
    samples: Sequence[float] = ()
    failure: str = ""


def from_entries(
    path: Path, space: SearchSpace, entries: Sequence[Entry], kernel: str, device: str
) -> Measurements:
    """Make measurements of what a file lists.

    Where configurations have different numbers of single times, the first ones of each are kept.

    Raises:
        DataError: A configuration is outside the space or there twice, or a time cannot be.
    """
    if not entries:
        raise DataError(f"{path} holds no configurations")
    for entry in entries:
        for name, value in entry.configuration.items():
            if not is_value(value):
                raise DataError(
                    f"{path}: parameter {name} was given as {value!r}; one value is wanted"
                )
    try:
        codes = np.array([space.encode(entry.configuration) for entry in entries], dtype=np.int64)
    except ConfigError as error:
        raise DataError(f"{path}: {error}") from None
    draws = min((len(entry.samples) for entry in entries if entry.time is not None), default=0)
    times = np.array([np.inf if entry.time is None else entry.time for entry in entries])
    samples = np.full((len(entries), draws), np.inf, dtype=np.float32)
    with np.errstate(over="ignore"):  # what becomes infinite is refused below
        for row, entry in enumerate(entries):
            if entry.time is not None:
                samples[row] = entry.samples[:draws]
    if np.isinf(times[[entry.time is not None for entry in entries]]).any():
        raise DataError(f"{path} has an infinite time of a configuration that did not fail")
    order = np.argsort(codes, kind="stable")
    failures = {
        int(code): entry.failure
        for code, entry in zip(codes, entries, strict=True)
        if entry.time is None and entry.failure
    }
    try:
        return Measurements(
            space=space,
            codes=codes[order],
            times=times[order],
            samples=samples[order],
            failures=failures,
            kernel=kernel,
            device=device,
        )
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def is_value(value: object) -> bool:
    """Whether a parameter can have it."""
    return isinstance(value, bool | int | float | str | np.generic)


def number(path: Path, what: str, value: object) -> float:
    """Return a number of a file, or raise DataError."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{path}: {what} is {value!r}; a number is wanted")
    try:
        return float(value)
    except OverflowError:
        raise DataError(f"{path}: {what} is an integer too large to be a time") from None
