"""Run folders as plain data: what a report is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool

from leanline.report.evidence import Change, Evidence, Pictures
from leanline.report.metrics import Metric, main_metric

Kind = Literal["train", "prune", "comparison"]


@dataclass(frozen=True)
class Stage:
    """A row of a run: a stage of pruning, or an evaluation while training.

    Attributes:
        index: the stage, or the training step.
        metrics: on the validation pictures.
        seconds: what it took.
        keep: the fraction of filters that was asked for (pruning).
        kept: filters that are alive (pruning).
        train_loss: mean loss over the training steps.
        best: whether it is the best so far (training).
    """

    index: int
    metrics: Mapping[str, float]
    seconds: float
    keep: float | None = None
    kept: int | None = None
    train_loss: float | None = None
    best: bool = False


@dataclass(frozen=True)
class GoalReached:
    """What a run that was pruned to a goal came to.

    Attributes:
        deliver: the stage whose network it delivers; 0 is the unpruned one.
        finished: whether the goal ended it.
        reason: why, in words.
    """

    deliver: int
    finished: bool
    reason: str


@dataclass(frozen=True, eq=False)
class Run:
    """One train or prune folder.

    Attributes:
        folder: where it is.
        kind: "train" or "prune".
        label: what the reader calls it: the rule that was pruned by.
        config: its settings.
        versions: of leanline and PyTorch, at its start.
        stages: what has been done.
        planned: stages, or training steps, that were asked for; None where it is not known.
        evidence: what was measured in the end, None where that has not been done.
        pictures: test pictures, None where there are none.
        adjacency: active filters, of "dense" and "pruned".
        goal: what the run's goal came to so far, None for a run without one.
    """

    folder: Path
    kind: Kind
    label: str
    config: Mapping[str, Any]
    versions: Mapping[str, str]
    stages: tuple[Stage, ...]
    planned: int | None
    evidence: Evidence | None
    pictures: Pictures | None
    adjacency: Mapping[str, Bool[np.ndarray, "targets sources"]]
    goal: GoalReached | None = None

    @property
    def result(self) -> Stage | None:
        """The stage that the run delivers; None before the first, and for the unpruned network."""
        if self.goal is None:
            return self.stages[-1] if self.stages else None
        return next((s for s in self.stages if s.index == self.goal.deliver), None)

    @property
    def done(self) -> int:
        """The last stage, or training step, that is done; 0 before the first."""
        return self.stages[-1].index if self.stages else 0

    @property
    def finished(self) -> bool:
        """Whether everything that was asked for is done."""
        stopped = self.goal is not None and self.goal.finished
        return bool(self.stages) and (stopped or self.done >= (self.planned or 0))

    @property
    def seconds(self) -> float:
        """What the stages took together."""
        return sum(stage.seconds for stage in self.stages)

    def judged(self, name: str) -> Mapping[str, float]:
        """Test metrics of "dense", "pruned" or "trained"; empty where they were not measured."""
        return self.evidence.metrics.get(name, {}) if self.evidence else {}

    def change(self, name: str) -> Change | None:
        """The "filters", "channels", "parameters" or "macs" before and after."""
        return self.evidence.network.get(name) if self.evidence else None


@dataclass(frozen=True, eq=False)
class Report:
    """A folder to report on.

    Attributes:
        folder: where it is.
        kind: "train", "prune" or "comparison".
        config: its settings.
        versions: of leanline and PyTorch, at its start.
        runs: the run itself, or the runs that are compared; LEAN first.
        expected: names of folders of a comparison that are not there yet.
    """

    folder: Path
    kind: Kind
    config: Mapping[str, Any]
    versions: Mapping[str, str]
    runs: tuple[Run, ...]
    expected: tuple[str, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether everything that was asked for is done."""
        return bool(self.runs) and not self.expected and all(run.finished for run in self.runs)

    @property
    def comparable(self) -> bool:
        """Whether the runs differ in nothing but the rule."""
        others = [
            {key: value for key, value in run.config.items() if key != "criterion"}
            for run in self.runs
        ]
        return all(each == others[0] for each in others)

    @property
    def metric(self) -> Metric | None:
        """The main metric of the task; None before anything was judged."""
        names = {name for run in self.runs for stage in run.stages for name in stage.metrics}
        names |= {
            name
            for run in self.runs
            if run.evidence
            for judged in run.evidence.metrics.values()
            for name in judged
        }
        return main_metric(names - {"train_loss"}, any(map(_two_classes, self.runs)))

    @property
    def total_filters(self) -> int | None:
        """Prunable filters of the unpruned network; None before a run was measured."""
        found = [change.before for run in self.runs if (change := run.change("filters"))]
        return found[0] if found else None


def _two_classes(run: Run) -> bool:
    if run.evidence and run.evidence.classes:
        return len(run.evidence.classes) == 2
    if run.pictures is None or not run.pictures.labelled:
        return False
    ignored = run.evidence.ignore if run.evidence else None
    labels = (run.pictures.truth, *run.pictures.outputs.values())
    return all(int(np.where(each == ignored, 0, each).max()) <= 1 for each in labels)
