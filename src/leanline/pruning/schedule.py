"""How much to keep after each stage of pruning (Algorithm 1)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from leanline.errors import ConfigError


@dataclass(frozen=True)
class Schedule:
    """Prune in equal ratios: after stage k of `steps` a fraction keep ** (k / steps) remains.

    Attributes:
        keep: Fraction of all prunable filters that remain at the end, in (0, 1].
        steps: Number of stages, at least 1.
    """

    keep: float
    steps: int = 1

    def __post_init__(self) -> None:
        if not (isinstance(self.keep, int | float) and 0 < self.keep <= 1):
            raise ConfigError(f"keep is {self.keep!r}: give a fraction above 0 and at most 1")
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise ConfigError(f"steps is {self.steps!r}: give a whole number of at least 1")

    def keep_at(self, stage: int) -> float:
        """Fraction of all filters that remains after a stage, 1 to `steps`."""
        if not 1 <= stage <= self.steps:
            raise ConfigError(f"stage is {stage}: this schedule has stages 1 to {self.steps}")
        return float(self.keep) if stage == self.steps else math.pow(self.keep, stage / self.steps)

    def fractions(self) -> tuple[float, ...]:
        """Fraction after each stage."""
        return tuple(self.keep_at(stage) for stage in range(1, self.steps + 1))

    def counts(self, total: int) -> tuple[int, ...]:
        """Number of filters after each stage, of `total` in the unpruned network."""
        return tuple(max(1, round(fraction * total)) for fraction in self.fractions())
