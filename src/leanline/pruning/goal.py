"""When to stop pruning, and which stage to deliver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from leanline.errors import ConfigError
from leanline.pruning.stages import Stage
from leanline.pruning.stop_rules import AtMetricDrop, StopRule, Verdict
from leanline.types import ExampleInputs


@dataclass(frozen=True)
class Outcome:
    """What a goal says of the stages so far.

    Attributes:
        deliver: Index of the stage whose network is delivered; 0 is the unpruned one.
        finished: Whether pruning ends here.
        reason: Why, in words.
    """

    deliver: int
    finished: bool
    reason: str


@dataclass(frozen=True)
class Goal:
    """Prune until all targets are reached, within all limits.

    The first stage that breaks no limit and reaches all targets ends the run and is delivered.
    `patience` stages in a row that break a limit end it as well; then, and when the schedule ends
    before the goal, the last stage that breaks no limit is delivered, or the unpruned network if
    there is none.

    "Until 10 times faster, at most 2 points worse" is
    ``Goal((AtSpeedup(10), AtMetricDrop("accuracy", 0.02)))``.

    Attributes:
        rules: The targets and limits.
        patience: Stages in a row that may break a limit before it ends; more than 1 gives networks
            that recover a chance.

    Raises:
        ConfigError: No rule, or less than one stage of patience.
    """

    rules: tuple[StopRule, ...]
    patience: int = 1

    def __post_init__(self) -> None:
        rules: object = self.rules  # what is typed is not always what is given
        several = isinstance(rules, tuple | list) and len(rules) > 0
        if not several or not all(isinstance(rule, StopRule) for rule in self.rules):
            raise ConfigError(f"Goal(rules={self.rules!r}): give rules, such as (AtSpeedup(10),)")
        if self.patience < 1:
            raise ConfigError(f"Goal(patience={self.patience}): give at least one stage")

    @property
    def description(self) -> dict[str, Any]:
        """How a run folder names it."""
        rules = [{"name": type(rule).__name__, **asdict(rule)} for rule in self.rules]
        return {"rules": rules, "patience": self.patience}

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics of the unpruned network that have to be measured."""
        drops = [rule for rule in self.rules if isinstance(rule, AtMetricDrop)]
        return tuple(rule.metric for rule in drops if rule.reference is None)

    def measure(
        self, dense: nn.Module, pruned: nn.Module, example_inputs: ExampleInputs
    ) -> dict[str, float]:
        """What all rules measure; see `StopRule.measure`."""
        found: dict[str, float] = {}
        for rule in self.rules:
            found |= rule.measure(dense, pruned, example_inputs)
        return found

    def outcome(self, stages: Sequence[Stage]) -> Outcome:
        """What the stages so far come to: a function of what was recorded of them alone.

        Raises:
            ConfigError: A stage has not got what a rule is about.
        """
        targets = [rule for rule in self.rules if rule.is_target]
        within: Stage | None = None
        broken = 0
        for stage in stages:
            if any(rule.judge(stage) is Verdict.BROKEN for rule in self.rules):
                broken += 1
                if broken == self.patience:
                    return Outcome(within.index if within else 0, True, self._ended(stage, within))
                continue
            within, broken = stage, 0
            if targets and all(rule.judge(stage) is Verdict.REACHED for rule in targets):
                return Outcome(stage.index, True, f"goal reached: {self._describe(stage)}")
        if within is None:
            what = "no stage is within the limits" if stages else "no stage is done"
            return Outcome(0, False, f"{what}: the unpruned network")
        return Outcome(within.index, False, f"last stage within limits: {self._describe(within)}")

    def _ended(self, stage: Stage, within: Stage | None) -> str:
        if within is None:
            there = "none is within the limits: the unpruned network"
        else:
            there = f"the last within limits is stage {within.index}: {self._describe(within)}"
        return f"stage {stage.index} broke a limit ({self._describe(stage)}); {there}"

    def _describe(self, stage: Stage) -> str:
        return ", ".join(rule.describe(stage) for rule in self.rules)
