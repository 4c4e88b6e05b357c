"""Filter pruning via the geometric median."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from leanline.graph import PruningGraph
from leanline.pruning.criteria.base import Criterion
from leanline.pruning.criteria.output_filters import OutputFilters, ranked_outputs


@dataclass(frozen=True)
class GeometricMedian(Criterion):
    """Layer by layer, the output filters nearest to the geometric median of their layer go first.

    An output filter's score is the sum of its Euclidean distances to the others of its layer that
    are not pruned yet: one that is near to all others can be replaced by them. After He et al.,
    "Filter pruning via geometric median for deep convolutional neural networks acceleration"
    (CVPR 2019), without the part by norms.
    """

    def order(
        self, graph: PruningGraph, tensors: Mapping[str, Tensor], limit: int
    ) -> Int[np.ndarray, "_"]:
        """Filters h_ij, those of the output filters that are farthest from the others first."""
        return ranked_outputs(graph, tensors, _distances, limit)


def _distances(layer: OutputFilters) -> Float[np.ndarray, "outputs"]:
    present = torch.from_numpy(layer.present).to(layer.values.device)
    sums = torch.zeros(len(present), dtype=torch.float64, device=present.device)
    rows = layer.values[present]
    sums[present] = torch.cdist(rows, rows).sum(1)
    found: np.ndarray = sums.cpu().numpy()
    return found
