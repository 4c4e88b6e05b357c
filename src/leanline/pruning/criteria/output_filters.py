"""Whole output filters: all that a convolution reads for one output channel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from leanline.graph import PruningGraph
from leanline.pruning.criteria.ranking import largest_first


@dataclass(frozen=True)
class OutputFilters:
    """The output filters of one layer.

    Attributes:
        values: Their entries, one row each.
        ids: The filters h_ij that they are made of.
        present: Whether any of those is not pruned yet.
    """

    values: Float[Tensor, "outputs entries"]
    ids: Int[np.ndarray, "outputs inputs"]
    present: Bool[np.ndarray, "outputs"]


Score = Callable[[OutputFilters], Float[np.ndarray, "outputs"]]
"""A number for each output filter, larger for better; only those that are present matter."""


def ranked_outputs(
    graph: PruningGraph, tensors: Mapping[str, Tensor], score: Score, limit: int
) -> Int[np.ndarray, "_"]:
    """The first filters h_ij, those of the best output filters of every layer first.

    An output filter that r of n in its layer precede comes at place r / n, so that any prefix holds
    the same fraction of every layer, rounded up; the last one in a prefix may be cut. Those that
    are pruned already come last in their layer.
    """
    places = np.empty(graph.num_filters)
    for layer in _layers(graph, tensors):
        scores = np.where(layer.present, score(layer), -np.inf)
        count = scores.size
        order = largest_first(scores, count)
        places[layer.ids[order]] = (np.arange(count) / count)[:, None]
    rows = np.concatenate([layer.ids.ravel() for layer in _layers(graph, tensors)])
    return np.asarray(rows[largest_first(-places[rows], limit)])


def _layers(graph: PruningGraph, tensors: Mapping[str, Tensor]) -> Iterator[OutputFilters]:
    settings = {
        operation.parameters["weight"]: operation.settings
        for operation in reversed(graph.program.operations)  # of a shared weight the first use
        if operation.kind == "convolution"
    }
    for block in graph.filters:
        weight = tensors[block.name].detach().double()
        ids = torch.arange(block.offset, block.offset + block.count).reshape(block.shape)
        if settings[block.name]["transposed"]:
            groups = int(settings[block.name]["groups"])
            weight, ids = (_by_output(tensor, groups) for tensor in (weight, ids))
        places = ids.numpy()
        present: np.ndarray = graph.allowed[places].any(1)
        yield OutputFilters(weight.reshape(len(weight), -1), places, present)


def _by_output(tensor: Tensor, groups: int) -> Tensor:
    """From the layout of a transposed convolution, (in, out / groups), to (out, in / groups)."""
    rows, columns = tensor.shape[:2]
    split = tensor.reshape(groups, rows // groups, columns, *tensor.shape[2:])
    return split.transpose(1, 2).reshape(groups * columns, rows // groups, *tensor.shape[2:])
