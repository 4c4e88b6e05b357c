"""Where a run keeps its stages: in a folder, or in memory what its goal may deliver."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from torch import Tensor, nn

from leanline.errors import ConfigError
from leanline.pruning.finetune import Finetune, Judging, Stateful, numbers
from leanline.pruning.goal import Goal, Outcome
from leanline.pruning.stages import (
    DELIVER,
    DENSE,
    FINISHED,
    REASON,
    Stage,
    checkpoint,
    load_stage,
    load_state,
    read_stages,
    row_of,
    state_after,
)
from leanline.records.run import RunFolder


@final
class Store:
    """The stages of a run that is going on, and the states that may still be needed.

    Args:
        model: The network that is pruned.
        finetune: What retrains it.
        folder: Where to write, or None.
        goal: What decides which stage is delivered, or None for the last one.

    Attributes:
        stages: Those that are done.
    """

    def __init__(
        self, model: nn.Module, finetune: Finetune, folder: RunFolder | None, goal: Goal | None
    ) -> None:
        self._model, self._finetune, self._folder, self._goal = model, finetune, folder, goal
        self._memory: Mapping[str, Tensor] = {}
        self.stages: list[Stage] = [] if folder is None else list(read_stages(folder))

    def begin(self) -> None:
        """Keep the unpruned network, or go on after the last stage of the folder."""
        folder = self._folder
        if self.stages and folder is not None:
            self._load(folder, self.stages[-1].index)
            self._tidy(folder)
        elif self._goal is not None:
            self._keep(0)

    @property
    def outcome(self) -> Outcome:
        """What the stages so far come to."""
        if self._goal is None:
            return Outcome(self.stages[-1].index if self.stages else 0, False, "the last stage")
        return self._goal.outcome(self.stages)

    def commit(self, stage: Stage) -> None:
        """Add a stage: first its checkpoint, then its row; then superfluous checkpoints go."""
        self.stages.append(stage)
        outcome, folder = self.outcome, self._folder
        if folder is not None:
            self._keep(stage.index)
            row = row_of(stage)
            if self._goal is not None:
                row |= {
                    DELIVER: outcome.deliver,
                    FINISHED: outcome.finished,
                    REASON: outcome.reason,
                }
            folder.append_stage(row)
            self._tidy(folder)
        elif self._goal is not None and outcome.deliver == stage.index:
            self._keep(stage.index)

    def deliver(self) -> None:
        """Put the model and finetune in the state after the stage that is delivered."""
        index = self.outcome.deliver
        if not self.stages or index == self.stages[-1].index:
            return
        if self._folder is not None:
            self._load(self._folder, index)
            return
        try:
            self._restore(load_state(self._model, self._memory))
        except RuntimeError as error:
            raise ConfigError(f"the model's parameters changed between stages: {error}") from error

    def _keep(self, index: int) -> None:
        state = state_after(self._model, self._finetune)
        if self._folder is not None:
            self._folder.save_tensors(checkpoint(index), state)
        else:
            self._memory = {name: value.detach().clone() for name, value in state.items()}

    def _load(self, folder: RunFolder, index: int) -> None:
        self._restore(load_stage(folder, self._model, index))

    def _restore(self, state: Mapping[str, Tensor]) -> None:
        finetune: object = self._finetune
        if isinstance(finetune, Stateful):
            finetune.load_state_dict(state)

    def _tidy(self, folder: RunFolder) -> None:
        """Remove all checkpoints but the last one and the one that may be delivered."""
        needed = {self.stages[-1].index, self.outcome.deliver}
        if self._goal is None:
            needed = {self.stages[-1].index}
        done = range(self.stages[-1].index + 1)
        folder.remove_tensors(checkpoint(index) for index in done if index not in needed)


def judge_dense(model: nn.Module, finetune: Finetune, goal: Goal) -> dict[str, float]:
    """Metrics of the unpruned network that a goal compares with, under `DENSE`.

    Raises:
        ConfigError: finetune cannot judge, or does not know such a metric.
    """
    if not goal.metrics:
        return {}
    judging: object = finetune
    if not isinstance(judging, Judging):
        raise ConfigError(
            f"the goal compares {', '.join(goal.metrics)} with the unpruned network's, and "
            "finetune has no method judge(model) to measure it: give AtMetricDrop(reference=...)"
        )
    found = numbers(judging.judge(model))
    for name in goal.metrics:
        if name not in found:
            raise ConfigError(
                f"the goal is about {name!r}, which is not judged; there is "
                f"{', '.join(found) or 'nothing'}"
            )
    return {DENSE + name: found[name] for name in goal.metrics}
