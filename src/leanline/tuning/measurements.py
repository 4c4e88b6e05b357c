"""What was measured of a search space: a time for each configuration, or that it failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from leanline.errors import DataError
from leanline.tuning.space import SearchSpace


@dataclass(frozen=True, eq=False)
class Measurements:
    """Measured configurations of a space.

    Attributes:
        space: The space.
        codes: The configurations, ascending.
        times: Mean time of each in ms; infinite where it failed.
        samples: The times of single runs of each in ms; without columns where only means are
            known. Rows of failed configurations are infinite.
        failures: Why configurations failed, by code, where that is known.
        kernel: Name of the kernel.
        device: Name of the device.
        about: What else is known of how they were measured: sizes, versions, statistic. Only
            Parquet files keep it.
    """

    space: SearchSpace
    codes: Int64[np.ndarray, "configurations"]
    times: Float64[np.ndarray, "configurations"]
    samples: Float32[np.ndarray, "configurations runs"]
    failures: Mapping[int, str] = field(default_factory=dict)
    kernel: str = ""
    device: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check it; raises DataError."""
        where = self.name or "the measurements"
        if not len(self.codes) == len(self.times) == len(self.samples):
            raise DataError(f"{where} have different numbers of configurations and times")
        if (np.diff(self.codes) <= 0).any():
            raise DataError(f"{where} hold a configuration twice, or are not in order")
        for what, values in (("times", self.times), ("single times", self.samples)):
            wrong = np.isnan(values) | (values <= 0)
            if wrong.any():
                value = values[wrong][0]
                row = int(np.argwhere(wrong)[0][0])
                at = self.space.decode(int(self.codes[row]))
                raise DataError(f"{where} have {what} that cannot be: {value} ms at {at}")
        if np.isinf(self.samples[self.valid]).any():
            raise DataError(f"{where} have an infinite single time of a configuration that ran")
        if not self.valid.any():
            raise DataError(f"{where} hold no configuration that ran")

    @property
    def name(self) -> str:
        """Kernel and device."""
        return " ".join(part for part in (self.kernel, self.device) if part)

    @cached_property
    def valid(self) -> Bool[np.ndarray, "configurations"]:
        """Which of them ran."""
        return np.asarray(np.isfinite(self.times))

    @cached_property
    def best_time(self) -> float:
        """The best mean time, ms."""
        return float(self.times.min())

    def time(self, code: int) -> float:
        """The mean time of a configuration in ms, infinite if it failed or was not measured."""
        at = int(np.searchsorted(self.codes, code))
        found = at < len(self.codes) and self.codes[at] == code
        return float(self.times[at]) if found else float("inf")
