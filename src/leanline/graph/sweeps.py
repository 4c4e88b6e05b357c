"""One pass over a channel graph: unprunable paths before and behind every node, best paths.

Every value comes with the lowest end of the path among equals (its source, or for suffixes its
last node) and then with the lowest edge.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from jaxtyping import Float64, Int


class Labels(NamedTuple):
    """The best path to each node, or from it.

    Attributes:
        value: Log length, -inf where there is no path.
        source: The node where the path starts, or ends.
        edge: The path's edge at the node, -1: none.
        node: The other node of that edge.
    """

    value: Float64[np.ndarray, "nodes"]
    source: Int[np.ndarray, "nodes"]
    edge: Int[np.ndarray, "nodes"]
    node: Int[np.ndarray, "nodes"]


def empty_labels(num_nodes: int) -> Labels:
    """No path anywhere."""
    return Labels(
        np.full(num_nodes, -np.inf),
        np.arange(num_nodes, dtype=np.int32),
        np.full(num_nodes, -1, dtype=np.int32),
        np.full(num_nodes, -1, dtype=np.int32),
    )


@numba.njit(cache=True)
def sweep_prefix(rows, labels):  # type: ignore[no-untyped-def]
    """Fill in the best unprunable path, possibly empty, that ends at each node."""
    nodes = rows.order.size
    for node in rows.order:
        if rows.ends[node]:
            labels.value[node] = 0.0
        for p in range(rows.piece_start[node], rows.piece_start[node + 1]):
            if rows.piece_slot[p] >= nodes:
                for k in range(rows.piece_size[p]):
                    _offer(
                        rows, labels, node, rows.piece_slot[p] + k - nodes, rows.piece_edge[p] + k
                    )
        for p in range(rows.pair_start[node], rows.pair_start[node + 1]):
            if rows.pair_slot[p] >= nodes:
                _offer(rows, labels, node, rows.pair_slot[p] - nodes, rows.pair_edge[p])


@numba.njit(cache=True)
def sweep_suffix(rows, labels):  # type: ignore[no-untyped-def]
    """Fill in the best unprunable path, possibly empty, from each node."""
    nodes = rows.order.size
    for node in range(nodes):
        if rows.ends[node]:
            labels.value[node] = 0.0
    for node in rows.order[::-1]:
        for p in range(rows.piece_start[node], rows.piece_start[node + 1]):
            if rows.piece_slot[p] >= nodes:
                for k in range(rows.piece_size[p]):
                    _offer(
                        rows, labels, rows.piece_slot[p] + k - nodes, node, rows.piece_edge[p] + k
                    )
        for p in range(rows.pair_start[node], rows.pair_start[node + 1]):
            if rows.pair_slot[p] >= nodes:
                _offer(rows, labels, rows.pair_slot[p] - nodes, node, rows.pair_edge[p])


@numba.njit(cache=True)
def sweep_from(rows, starts, labels):  # type: ignore[no-untyped-def]
    """Fill in the best path over all edges from a set of nodes to each node."""
    nodes = rows.order.size
    for node in rows.order:
        if starts[node]:
            labels.value[node] = 0.0
        for p in range(rows.piece_start[node], rows.piece_start[node + 1]):
            first = rows.piece_slot[p] % nodes
            for k in range(rows.piece_size[p]):
                _offer(rows, labels, node, first + k, rows.piece_edge[p] + k)
        for p in range(rows.pair_start[node], rows.pair_start[node + 1]):
            _offer(rows, labels, node, rows.pair_slot[p] % nodes, rows.pair_edge[p])


@numba.njit(cache=True)
def sweep_floor(rows, prefix, floor):  # type: ignore[no-untyped-def]
    """Fill in the value below which a chain that ends at a node can make no difference.

    It is none that counts (0 or less), and neither it nor what continues it beats the unprunable
    path there is without it.
    """
    nodes = rows.order.size
    for node in range(nodes):
        floor[node] = min(0.0, prefix.value[node])
    for node in rows.order[::-1]:
        for p in range(rows.piece_start[node], rows.piece_start[node + 1]):
            if rows.piece_slot[p] >= nodes:
                for k in range(rows.piece_size[p]):
                    source, edge = rows.piece_slot[p] + k - nodes, rows.piece_edge[p] + k
                    floor[source] = min(floor[source], _needed(floor[node], rows.weight[edge]))
        for p in range(rows.pair_start[node], rows.pair_start[node + 1]):
            if rows.pair_slot[p] >= nodes:
                source, edge = rows.pair_slot[p] - nodes, rows.pair_edge[p]
                floor[source] = min(floor[source], _needed(floor[node], rows.weight[edge]))


@numba.njit(cache=True)
def _needed(floor, weight):  # type: ignore[no-untyped-def]
    """What a chain must have before an edge to reach a floor behind it; lower by rounding."""
    if weight == -np.inf:
        return np.inf
    if weight == 0 or floor == -np.inf:
        return floor
    return floor - weight - 1e-12 * (abs(floor) + abs(weight))


@numba.njit(cache=True)
def _offer(rows, labels, node, other, edge):  # type: ignore[no-untyped-def]
    """Take the path over an edge for a node's label if it is better."""
    key = labels.value[other] + rows.weight[edge]
    if key < labels.value[node] or key == -np.inf:
        return
    source = labels.source[other]
    if key == labels.value[node]:
        if source > labels.source[node]:
            return
        if source == labels.source[node] and (labels.edge[node] < 0 or edge > labels.edge[node]):
            return
    labels.value[node], labels.source[node] = key, source
    labels.edge[node], labels.node[node] = edge, other
