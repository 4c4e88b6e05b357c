"""One stage of pruning: the parts that a criterion puts together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

from torch import nn

from leanline.errors import ConfigError
from leanline.graph import following_once
from leanline.masks import apply_masks, get_masks, zero_filters
from leanline.pruning.clean import clean
from leanline.pruning.criteria import Criterion, StagedCriterion
from leanline.pruning.finetune import Divisible, Finetune, Judging, as_two_arguments, numbers
from leanline.pruning.select import select
from leanline.pruning.stages import Stage
from leanline.types import ExampleInputs


@dataclass(frozen=True)
class Task:
    """What all stages of a run have in common.

    Attributes:
        model: The network, pruned in place.
        example_inputs: Inputs as it gets them.
        criterion: The rule.
        ignore: Modules that are not pruned.
        finetune: Retrains and judges.
    """

    model: nn.Module
    example_inputs: ExampleInputs
    criterion: Criterion
    ignore: Sequence[str | nn.Module]
    finetune: Finetune


@final
@dataclass
class Work:
    """A stage that is being done; see `leanline.pruning.criteria.StageWork`.

    Attributes:
        task: What all stages have in common.
        index: The stage's number, 1 for the first.
        keep: Fraction of the filters that it keeps.
        selected: Filters that the last selection kept; None before there was one.
        held: Whether that selection is for good.
    """

    task: Task
    index: int
    keep: float
    selected: int | None = field(default=None, init=False)
    held: bool = field(default=False, init=False)

    def run(self) -> Stage:
        """Do the stage as its criterion wants it; the seconds are the caller's to fill in.

        Raises:
            ConfigError: The criterion ended its stage without `hold`, or finetune returned
                something else than numbers.
        """
        criterion = self.task.criterion
        with following_once():
            if isinstance(criterion, StagedCriterion):
                metrics = dict(criterion.run_stage(self))
            else:
                self.hold()
                metrics = self._call()
        if not self.held or self.selected is None:
            raise ConfigError(f"{criterion!r} ended its stage without work.hold()")
        return Stage(self.index, self.keep, self.selected, metrics)

    def zero(self) -> None:
        """Select, and set the other filters to zero, once."""
        task = self.task
        masks = select(task.model, task.example_inputs, self.keep, task.criterion, task.ignore)
        zero_filters(task.model, masks)
        self.selected = sum(int(mask.sum()) for mask in masks.values())

    def hold(self) -> None:
        """Select, mask the other filters for good, and clean."""
        task = self.task
        masks = select(task.model, task.example_inputs, self.keep, task.criterion, task.ignore)
        apply_masks(task.model, masks)
        clean(task.model, task.example_inputs, task.ignore)
        now = get_masks(task.model)
        self.selected, self.held = sum(int(now[name].sum()) for name in masks), True

    def train(self, part: int, parts: int) -> Mapping[str, float]:
        """Do a part of the stage's retraining, or all of it where finetune knows no parts."""
        finetune: object = self.task.finetune
        if isinstance(finetune, Divisible):
            return numbers(finetune.train(self.task.model, self._stage(), part, parts))
        return self._call()

    def judge(self) -> Mapping[str, float]:
        """The present metrics, after another call where finetune cannot judge alone."""
        finetune: object = self.task.finetune
        if isinstance(finetune, Judging):
            return numbers(finetune.judge(self.task.model))
        return self._call()

    def _call(self) -> dict[str, float]:
        return numbers(as_two_arguments(self.task.finetune)(self.task.model, self._stage()))

    def _stage(self) -> Stage:
        return Stage(self.index, self.keep, self.selected or 0)
