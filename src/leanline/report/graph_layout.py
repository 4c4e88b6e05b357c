"""Where the nodes of a directed acyclic graph stand in a drawing: pure arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int


def longest_path_layers(
    order: Int[np.ndarray, "nodes"], src: Int[np.ndarray, "edges"], dst: Int[np.ndarray, "edges"]
) -> Int[np.ndarray, "nodes"]:
    """The layer of each node: the number of edges on the longest path that ends there.

    A node without incoming edges stands one layer before the first that reads it, so that its
    edges are short; the first layer is 0, and every edge leads to a higher one.

    Args:
        order: the nodes in a topological order.
        src: node that each edge leaves.
        dst: node that it enters.
    """
    count = order.size
    readers: list[list[int]] = [[] for _ in range(count)]
    for source, target in zip(src.tolist(), dst.tolist(), strict=True):
        readers[source].append(target)
    layers = np.zeros(count, dtype=np.int64)
    for node in order.tolist():
        for reader in readers[node]:
            layers[reader] = max(layers[reader], layers[node] + 1)
    fed = np.zeros(count, dtype=bool)
    fed[dst] = True
    for node in np.flatnonzero(~fed).tolist():
        if readers[node]:
            layers[node] = min(layers[reader] for reader in readers[node]) - 1
    return layers


def assign_lanes(spans: Sequence[tuple[float, float]]) -> list[int]:
    """Number parallel lines 0, 1, ... so that two that run side by side have different numbers.

    Short ones come first, so that the lines of nested spans are nested too. Spans that only touch
    may share a number.

    Args:
        spans: begin and end of each line, begin < end.
    """
    lanes: list[list[tuple[float, float]]] = []
    found = [0] * len(spans)
    for index in sorted(range(len(spans)), key=lambda i: (spans[i][1] - spans[i][0], spans[i])):
        begin, end = spans[index]
        # above every lane that holds something beside it, not in a gap below one
        taken = [
            lane
            for lane, members in enumerate(lanes)
            if any(begin < other_end and other < end for other, other_end in members)
        ]
        lane = max(taken, default=-1) + 1
        if lane == len(lanes):
            lanes.append([])
        lanes[lane].append((begin, end))
        found[index] = lane
    return found


def break_columns(rows: int, row_height: float, width: float, ratio: float = 0.8) -> int:
    """In how many columns, like those of a newspaper, to set a long list of rows.

    Args:
        rows: number of rows.
        row_height: of one.
        width: of a column, in the same unit.
        ratio: wanted height of the whole over its width.

    Returns:
        The number of columns; none is shorter than a dozen rows.
    """
    wanted = round(math.sqrt(rows * row_height / (ratio * width)))
    return max(1, min(wanted, rows // 12))
