"""What an optimiser minimises: measurements that are replayed, or a function that is called."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable as Function
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Float64, Int64

from leanline.errors import ConfigError
from leanline.tuning.files.read import read_measurements
from leanline.tuning.measurements import Measurements
from leanline.tuning.space import SearchSpace
from leanline.types import PathLike

Times: TypeAlias = Literal["mean", "drawn"]
"""``mean``: a configuration's time is the mean of its measured times. ``drawn``: it is one of them,
drawn anew in each run."""


class Objective(ABC):
    """Configurations to milliseconds."""

    @property
    @abstractmethod
    def space(self) -> SearchSpace:
        """The configurations."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What tables call it."""

    @property
    @abstractmethod
    def optimum(self) -> float:
        """The best time there is in ms; not a number where that is not known."""

    @abstractmethod
    def measure(self, code: int) -> float:
        """Measure a valid configuration: ms, infinite where it fails."""

    @abstractmethod
    def known(self) -> tuple[Int64[np.ndarray, "known"], Float64[np.ndarray, "known"]] | None:
        """The codes and times of all that can be measured, if known; all others fail."""


class Replay(Objective):
    """A kernel on a device, as it was measured: nothing is run.

    A configuration that was not measured, or failed, is one that fails.

    ```python
    replay = Replay("convolution_A100.parquet")
    ```
    """

    def __init__(self, source: PathLike | Measurements, *, times: Times = "mean") -> None:
        """Read measurements.

        Args:
            source: A file: Parquet with the space in its metadata, Kernel Tuner's cache or T4
                (``.json``, ``.json.gz``); or measurements.
            times: What an evaluation returns. What an optimiser found is always judged by means.

        Raises:
            DataError: The file is missing, cut, too large, of another version or kind, or holds
                values that cannot be.
            ConfigError: `times` is ``drawn`` where only means are known.
        """
        if not isinstance(source, Measurements):
            source = read_measurements(source)
        self.measurements = source
        if times not in ("mean", "drawn"):
            raise ConfigError(f"times {times!r} were asked for; there are mean and drawn")
        if times == "drawn" and self.measurements.samples.shape[1] == 0:
            raise ConfigError(f"{self.name}: only mean times are known, there is nothing to draw")
        self.times = times

    @property
    def space(self) -> SearchSpace:
        """The configurations."""
        return self.measurements.space

    @property
    def name(self) -> str:
        """Kernel and device."""
        return self.measurements.name or "replay"

    @property
    def optimum(self) -> float:
        """The best mean time, ms."""
        return self.measurements.best_time

    def measure(self, code: int) -> float:
        """The mean time of a configuration in ms, infinite where it failed."""
        return self.measurements.time(code)

    def known(self) -> tuple[Int64[np.ndarray, "known"], Float64[np.ndarray, "known"]]:
        """The codes and mean times of what was measured."""
        return self.measurements.codes, self.measurements.times


class Callable(Objective):
    """A Python function of a configuration that returns milliseconds."""

    def __init__(
        self, function: Function[[dict[str, Any]], float], space: SearchSpace, name: str = ""
    ) -> None:
        """Wrap a function.

        Args:
            function: Gets a valid configuration and returns its time in ms; infinite, or not a
                number, says that the configuration fails. What it raises ends the search.
            space: The configurations.
            name: What tables call it.
        """
        self._function, self._space = function, space
        self._name = name or getattr(function, "__name__", "function")

    @property
    def space(self) -> SearchSpace:
        """The configurations."""
        return self._space

    @property
    def name(self) -> str:
        """What tables call it."""
        return self._name

    @property
    def optimum(self) -> float:
        """Not known: not a number."""
        return math.nan

    def measure(self, code: int) -> float:
        """Call the function.

        Raises:
            ConfigError: It returned what is no time.
        """
        configuration = self._space.decode(code)
        given: Any = self._function(dict(configuration))
        try:
            time = float(given)
        except (TypeError, ValueError):
            raise ConfigError(
                f"{self._name} returned {given!r} at {configuration}; milliseconds are wanted"
            ) from None
        if math.isnan(time):
            return math.inf
        if time <= 0:
            raise ConfigError(
                f"{self._name} returned {time} ms at {configuration}; more than 0 is wanted"
            )
        return time

    def known(self) -> None:
        """Nothing is known beforehand."""
        return None
