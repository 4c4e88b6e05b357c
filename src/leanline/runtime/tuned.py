"""How much is tuned, and what came out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from leanline.errors import ConfigError

Tune: TypeAlias = Literal["quick", "thorough"] | int
BUDGETS = {"quick": 25, "thorough": 200}
"""Configurations that are measured."""


@dataclass(frozen=True)
class Tuned:
    """What tuning found.

    Attributes:
        configuration: the one that runs; None where the plan without tuning stays, because nothing
            was faster by more than the noise.
        speedup: median over the rounds of the untuned plan's time / the best one's, in the run that
            decided.
        low: what the median ratio exceeds for sure, as far as the noise of the rounds tells.
        size: configurations that there are.
        evaluations: configurations that were looked at.
        fresh: those of them that were measured now, and not taken from the disk.
        seconds: what all of it took.
    """

    configuration: Mapping[str, bool | int | float | str] | None
    speedup: float
    low: float
    size: int
    evaluations: int
    fresh: int
    seconds: float

    def __str__(self) -> str:
        gain = f"{self.speedup:.3f}x (at least {self.low:.3f}x)"
        if self.configuration is None:
            said = f"the untuned plan stays, as nothing was surely faster: at best {gain}"
        else:
            named = (f"{name}={value}" for name, value in self.configuration.items())
            said = f"{gain} with {', '.join(named)}"
        return (
            f"{said}; {self.evaluations} of {self.size} configurations, {self.fresh} measured now, "
            f"{self.seconds:.0f} s"
        )


def check_budget(tune: Tune | str | None) -> int:
    """The number of configurations that is meant; 0: none.

    Raises:
        ConfigError: neither "quick" nor "thorough" nor a whole number above 0.
    """
    if tune is None:
        return 0
    if isinstance(tune, str) and tune in BUDGETS:
        return BUDGETS[tune]
    if isinstance(tune, bool) or not isinstance(tune, int) or tune < 1:
        known = ", ".join(f'"{name}" ({budget})' for name, budget in BUDGETS.items())
        raise ConfigError(
            f"tune={tune!r}: must be {known} or a number of configurations, at least 1"
        )
    return tune
