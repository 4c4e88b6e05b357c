"""What a pruning rule is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int
from torch import Tensor

from leanline.graph import PruningGraph


class Criterion(ABC):
    """A rule that ranks the prunable filters of a network."""

    @abstractmethod
    def order(
        self, graph: PruningGraph, tensors: Mapping[str, Tensor], limit: int
    ) -> Int[np.ndarray, "_"]:
        """Ids of the first `limit` filters to keep, best first.

        A smaller limit must give a prefix of what a larger one gives. With a limit of
        `graph.num_filters` every filter appears once.

        Args:
            graph: The pruning graph.
            tensors: Parameters by name, with pruned filters at zero.
            limit: How many filters are wanted.
        """


@runtime_checkable
class StageWork(Protocol):
    """What a stage of `leanline.prune` is made of."""

    def zero(self) -> None:
        """Select by the present weights and set the other filters to zero, once.

        They are trained on, and may be selected later.
        """
        ...

    def hold(self) -> None:
        """Select by the present weights, mask the other filters for good, and clean."""
        ...

    def train(self, part: int, parts: int) -> Mapping[str, float]:
        """Do a part of the stage's retraining, 0 to `parts` - 1; returns what it measured.

        A finetune function that cannot train in parts is called as a whole.
        """
        ...

    def judge(self) -> Mapping[str, float]:
        """The metrics of the network as it is.

        A finetune function that cannot judge without training is called as a whole.
        """
        ...


class StagedCriterion(Criterion):
    """A rule with a stage of its own, instead of: hold, then retrain."""

    @abstractmethod
    def run_stage(self, work: StageWork) -> Mapping[str, float]:
        """Do a whole stage, in which `work.hold` is called once.

        Args:
            work: The parts of the stage.

        Returns:
            The metrics of the network at the end.
        """
