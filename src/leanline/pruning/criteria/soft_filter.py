"""Soft filter pruning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from leanline.errors import ConfigError
from leanline.graph import PruningGraph
from leanline.pruning.criteria.base import StagedCriterion, StageWork
from leanline.pruning.criteria.output_filters import OutputFilters, ranked_outputs


@dataclass(frozen=True)
class SoftFilter(StagedCriterion):
    """Layer by layer, the output filters of smallest L2 norm go first; softly during a stage.

    A stage's retraining is split into equal periods. Before each, the filters that the rule does
    not select are set to zero, and trained on, so that they may come back; after the last, the
    filters are selected for good. After He et al., "Soft filter pruning for accelerating deep
    convolutional neural networks" (IJCAI 2018), where a period is an epoch.

    `leanline.select` alone, without a stage, selects by the norms.

    Attributes:
        periods: Periods a stage; 5 as the thesis retrains for 5 epochs a stage.

    Raises:
        ConfigError: Less than one period.
    """

    periods: int = 5

    def __post_init__(self) -> None:
        if self.periods < 1:
            raise ConfigError(f"SoftFilter(periods={self.periods}): give at least one period")

    def order(
        self, graph: PruningGraph, tensors: Mapping[str, Tensor], limit: int
    ) -> Int[np.ndarray, "_"]:
        """Filters h_ij, those of the output filters of the largest L2 norm first."""
        return ranked_outputs(graph, tensors, _norms, limit)

    def run_stage(self, work: StageWork) -> Mapping[str, float]:
        """Zero and train in turn, then select for good."""
        trained: Mapping[str, float] = {}
        for period in range(self.periods):
            work.zero()
            trained = work.train(period, self.periods)
        work.hold()
        return {**trained, **work.judge()}


def _norms(layer: OutputFilters) -> Float[np.ndarray, "outputs"]:
    norms: np.ndarray = layer.values.square().sum(1).sqrt().cpu().numpy()
    return norms
