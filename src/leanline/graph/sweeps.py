"""Compiled dynamic programming over a channel graph: longest chains by one pass over the edges.

State of a node, as in findings on chain selection: `prefix` is the best path of unprunable edges
that ends there (or none), `best` the best path that ends there with a prunable edge in it. A
prunable edge may follow either, an unprunable edge adds to `best` only what has a prunable edge
already. Every value comes with the lowest source node among equals.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from jaxtyping import Bool, Float64, Int

from leanline.graph.channel_graph import ChannelGraph


class Arrays(NamedTuple):
    """A graph with its edges sorted by the position of the node that they enter."""

    order: Int[np.ndarray, "nodes"]  # topological
    position: Int[np.ndarray, "nodes"]  # inverse of order
    start: Int[np.ndarray, "nodes+1"]  # by position: in-edges of that node
    edge: Int[np.ndarray, "edges"]  # id in the graph's own order
    src: Int[np.ndarray, "edges"]
    dst: Int[np.ndarray, "edges"]
    weight: Float64[np.ndarray, "edges"]
    prunable: Bool[np.ndarray, "edges"]
    ends: Bool[np.ndarray, "nodes"]


class Labels(NamedTuple):
    """Value, lowest source and last edge (-1: none) of the best path to each node."""

    value: Float64[np.ndarray, "nodes"]
    source: Int[np.ndarray, "nodes"]
    parent: Int[np.ndarray, "nodes"]


def arrange(graph: ChannelGraph) -> Arrays:
    """Sort the edges of a graph for the sweeps."""
    edges = graph.edges()
    position = np.empty(graph.num_nodes, dtype=np.int32)
    position[graph.order] = np.arange(graph.num_nodes, dtype=np.int32)
    rank = position[edges.dst]
    edge = np.argsort(rank, kind="stable").astype(np.int32)
    counts = np.bincount(rank, minlength=graph.num_nodes)
    start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Arrays(
        graph.order,
        position,
        start,
        edge,
        edges.src[edge],
        edges.dst[edge],
        edges.log_weight[edge],
        edges.prunable[edge],
        graph.ends,
    )


def empty_labels(num_nodes: int) -> Labels:
    """No path anywhere."""
    return Labels(
        np.full(num_nodes, -np.inf),
        np.arange(num_nodes, dtype=np.int32),
        np.full(num_nodes, -1, dtype=np.int64),
    )


@numba.njit(cache=True)
def sweep_prefix(graph, prefix):  # type: ignore[no-untyped-def]
    """Fill in the best unprunable path, possibly empty, that ends at each node."""
    for at in range(graph.order.size):
        node = graph.order[at]
        value, source, parent = -np.inf, node, -1
        if graph.ends[node]:
            value = 0.0
        for e in range(graph.start[at], graph.start[at + 1]):
            if graph.prunable[e]:
                continue
            u = graph.src[e]
            key = prefix.value[u] + graph.weight[e]
            if key > value or (key == value and key > -np.inf and prefix.source[u] < source):
                value, source, parent = key, prefix.source[u], e
        prefix.value[node], prefix.source[node], prefix.parent[node] = value, source, parent


@numba.njit(cache=True)
def sweep_suffix(graph, suffix):  # type: ignore[no-untyped-def]
    """Fill in the best unprunable path, possibly empty, from each node; source is its end."""
    for node in range(graph.order.size):
        suffix.value[node] = 0.0 if graph.ends[node] else -np.inf
    for at in range(graph.order.size - 1, -1, -1):
        node = graph.order[at]
        for e in range(graph.start[at], graph.start[at + 1]):
            if graph.prunable[e]:
                continue
            u = graph.src[e]
            key = suffix.value[node] + graph.weight[e]
            end = suffix.source[node]
            if key > suffix.value[u] or (
                key == suffix.value[u] and key > -np.inf and end < suffix.source[u]
            ):
                suffix.value[u], suffix.source[u], suffix.parent[u] = key, end, e


@numba.njit(cache=True)
def sweep_best(graph, removed, prefix, best, first):  # type: ignore[no-untyped-def]
    """Update the best chains at all nodes from position `first` on."""
    for at in range(first, graph.order.size):
        node = graph.order[at]
        value, source, parent = -np.inf, node, -1
        for e in range(graph.start[at], graph.start[at + 1]):
            u = graph.src[e]
            key, origin = best.value[u], best.source[u]
            if graph.prunable[e]:
                if removed[e]:
                    continue
                if _prefer_prefix(prefix, best, u):
                    key, origin = prefix.value[u], prefix.source[u]
            key += graph.weight[e]
            if key > value or (key == value and key > -np.inf and origin < source):
                value, source, parent = key, origin, e
        best.value[node], best.source[node], best.parent[node] = value, source, parent


@numba.njit(cache=True)
def _prefer_prefix(prefix, best, node):  # type: ignore[no-untyped-def]
    """Whether a prunable edge continues the unprunable path rather than the chain."""
    if prefix.value[node] != best.value[node]:
        return prefix.value[node] > best.value[node]
    return prefix.source[node] <= best.source[node]


@numba.njit(cache=True)
def best_end(graph, best):  # type: ignore[no-untyped-def]
    """The node where the best chain ends: lowest source, then lowest node among equals."""
    chosen = -1
    for node in range(graph.order.size):
        if not graph.ends[node] or best.value[node] == -np.inf:
            continue
        if (
            chosen < 0
            or best.value[node] > best.value[chosen]
            or (best.value[node] == best.value[chosen] and best.source[node] < best.source[chosen])
        ):
            chosen = node
    return chosen


@numba.njit(cache=True)
def follow(graph, prefix, best, end):  # type: ignore[no-untyped-def]
    """Positions of the edges of the chain that ends at a node, from its source on."""
    found = []
    node, in_prefix = end, False
    while True:
        e = prefix.parent[node] if in_prefix else best.parent[node]
        if e < 0:
            break
        found.append(e)
        node = graph.src[e]
        if not in_prefix and graph.prunable[e]:
            in_prefix = _prefer_prefix(prefix, best, node)
    return np.array(found[::-1], dtype=np.int64)


@numba.njit(cache=True)
def sweep_from(graph, starts, labels):  # type: ignore[no-untyped-def]
    """Fill in the best path over all edges from a set of nodes to each node."""
    for at in range(graph.order.size):
        node = graph.order[at]
        value, source, parent = -np.inf, node, -1
        if starts[node]:
            value = 0.0
        for e in range(graph.start[at], graph.start[at + 1]):
            u = graph.src[e]
            key = labels.value[u] + graph.weight[e]
            if key > value or (key == value and key > -np.inf and labels.source[u] < source):
                value, source, parent = key, labels.source[u], e
        labels.value[node], labels.source[node], labels.parent[node] = value, source, parent
