"""What ends pruning: a target that is reached, a limit that is broken."""

from __future__ import annotations

import enum
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from torch import nn

from leanline.errors import ConfigError
from leanline.pruning.speed import Speed, measure_speed
from leanline.pruning.stages import DENSE, Stage
from leanline.types import ExampleInputs


class Verdict(enum.Enum):
    """What a rule says of a stage: not there yet, there, or too far."""

    OPEN = "open"
    REACHED = "reached"
    BROKEN = "broken"


@dataclass(frozen=True)
class StopRule(ABC):
    """A target that ends pruning when it is reached, or a limit that a stage must not break."""

    @abstractmethod
    def measure(
        self, dense: nn.Module, pruned: nn.Module, example_inputs: ExampleInputs
    ) -> Mapping[str, float]:
        """What the rule needs to know of a stage's network beyond its metrics, to be recorded.

        Args:
            dense: The unpruned network.
            pruned: The network at the end of the stage, with its masks.
            example_inputs: Inputs as they get them.
        """

    @abstractmethod
    def judge(self, stage: Stage) -> Verdict:
        """A verdict, from what was recorded of the stage alone.

        Raises:
            ConfigError: The stage has not got what the rule is about.
        """

    @abstractmethod
    def describe(self, stage: Stage) -> str:
        """How near a stage is, in words."""

    @property
    @abstractmethod
    def is_target(self) -> bool:
        """Whether it can be reached; a limit can only be broken."""


@dataclass(frozen=True)
class AtSpeedup(StopRule):
    """Reached when the network runs so many times as fast as the unpruned one in PyTorch.

    The pruned network is compacted and compiled, as users run it, and timed in turn with the
    unpruned one on the example inputs.

    Attributes:
        at_least: The speed-up that is wanted.
        threads: Threads of both networks.
        seconds: Time spent on measuring a stage, beside compiling.

    Raises:
        ConfigError: A speed-up not above 1, less than one thread, or a negative time.
    """

    at_least: float
    threads: int = 1
    seconds: float = 2.0

    def __post_init__(self) -> None:
        if not (self.at_least > 1 and math.isfinite(self.at_least)):
            raise ConfigError(f"AtSpeedup(at_least={self.at_least}): give a number above 1")
        if self.threads < 1 or not self.seconds >= 0:
            raise ConfigError(
                f"AtSpeedup(threads={self.threads}, seconds={self.seconds}): give at least one "
                "thread and no negative time"
            )

    @property
    def is_target(self) -> bool:
        """Always."""
        return True

    @property
    def figure(self) -> str:
        """The name of what it measures."""
        return "speedup" if self.threads == 1 else f"speedup_{self.threads}_threads"

    def measure(
        self, dense: nn.Module, pruned: nn.Module, example_inputs: ExampleInputs
    ) -> Mapping[str, float]:
        """The speed-up."""
        found: Speed = measure_speed(dense, pruned, example_inputs, self.threads, self.seconds)
        suffix = self.figure.removeprefix("speedup")
        return {self.figure: found.speedup, f"milliseconds{suffix}": found.milliseconds}

    def judge(self, stage: Stage) -> Verdict:
        """Reached from `at_least` on."""
        speedup = _figure(stage.measured, self.figure, stage)
        return Verdict.REACHED if speedup >= self.at_least else Verdict.OPEN

    def describe(self, stage: Stage) -> str:
        """The speed-up, and the one that is wanted."""
        speedup = _figure(stage.measured, self.figure, stage)
        return f"{speedup:.1f} times as fast (wanted: at least {self.at_least:g})"


@dataclass(frozen=True)
class AtFilters(StopRule):
    """Reached when so few filters are alive.

    Attributes:
        count: Filters, at most.

    Raises:
        ConfigError: Less than one filter.
    """

    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigError(f"AtFilters(count={self.count}): give at least one filter")

    @property
    def is_target(self) -> bool:
        """Always."""
        return True

    def measure(
        self, dense: nn.Module, pruned: nn.Module, example_inputs: ExampleInputs
    ) -> Mapping[str, float]:
        """Nothing: stages count their filters."""
        return {}

    def judge(self, stage: Stage) -> Verdict:
        """Reached at `count` or fewer."""
        return Verdict.REACHED if stage.kept_filters <= self.count else Verdict.OPEN

    def describe(self, stage: Stage) -> str:
        """Filters, and how many are wanted."""
        return f"{stage.kept_filters:,} filters (wanted: at most {self.count:,})"


Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class AtMetricDrop(StopRule):
    """Broken when a validation metric is worse than the unpruned network's by more than allowed.

    Attributes:
        metric: Its name among those that finetune returns, such as "accuracy" or "psnr".
        at_most: The drop that is allowed, in the metric's own units: 0.02 is two points of
            accuracy.
        better: "higher" or "lower", which values of the metric are the better ones.
        reference: The unpruned network's value; by default finetune's `judge` measures it, which
            `Retrain` has.

    Raises:
        ConfigError: A negative drop, or another word for `better`.
    """

    metric: str
    at_most: float
    better: Better = "higher"
    reference: float | None = None

    def __post_init__(self) -> None:
        if not self.at_most >= 0:
            raise ConfigError(f"AtMetricDrop(at_most={self.at_most}): must not be negative")
        if self.better not in get_args(Better):
            raise ConfigError(f"AtMetricDrop(better={self.better!r}): give 'higher' or 'lower'")

    @property
    def is_target(self) -> bool:
        """Never."""
        return False

    def measure(
        self, dense: nn.Module, pruned: nn.Module, example_inputs: ExampleInputs
    ) -> Mapping[str, float]:
        """Nothing: finetune judges."""
        return {}

    def judge(self, stage: Stage) -> Verdict:
        """Broken beyond `at_most`, and where the metric is not a number."""
        return Verdict.OPEN if self._drop(stage) <= self.at_most else Verdict.BROKEN

    def describe(self, stage: Stage) -> str:
        """The metric, its drop, and the one that is allowed."""
        value, drop = _figure(stage.metrics, self.metric, stage), self._drop(stage)
        side = "worse" if drop >= 0 else "better"
        return f"{self.metric} {value:.4g}, {abs(drop):.3g} {side} (allowed: {self.at_most:g})"

    def _drop(self, stage: Stage) -> float:
        value = _figure(stage.metrics, self.metric, stage)
        before = self.reference
        if before is None:
            before = _figure(stage.measured, DENSE + self.metric, stage)
        return before - value if self.better == "higher" else value - before


def _figure(figures: Mapping[str, float], name: str, stage: Stage) -> float:
    if name not in figures:
        raise ConfigError(
            f"stage {stage.index} has no {name!r} to stop by; it has "
            f"{', '.join(figures) or 'no figures'}"
        )
    return figures[name]
