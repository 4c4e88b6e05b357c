"""The plain engine: one sweep a chain. Baseline of the benchmark, oracle of the tests.

State of a node: `prefix` is the best path of unprunable edges that ends there (or none), `best` the
best path that ends there with a prunable edge in it. A prunable edge may follow either, an
unprunable edge adds to `best` only what has a prunable edge already. Every value comes with the
lowest source node among equals.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int

from leanline.graph.channel_graph import ChannelGraph


class Arrays(NamedTuple):
    """A graph with its edges sorted by the position of the node that they enter."""

    order: Int[np.ndarray, "nodes"]  # topological
    position: Int[np.ndarray, "nodes"]  # inverse of order
    start: Int[np.ndarray, "nodes+1"]  # by position: in-edges of that node
    edge: Int[np.ndarray, "edges"]  # id in the graph's own order
    src: Int[np.ndarray, "edges"]
    dst: Int[np.ndarray, "edges"]
    weight: Float32[np.ndarray, "edges"]
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
            if key == -np.inf or key < suffix.value[u]:
                continue
            parent = suffix.parent[u]
            if (
                key > suffix.value[u]
                or end < suffix.source[u]
                or (end == suffix.source[u] and parent >= 0 and graph.edge[e] < graph.edge[parent])
            ):
                suffix.value[u], suffix.source[u], suffix.parent[u] = key, end, e


@numba.njit(cache=True)
def sweep_best(graph, slot, weight, table, prefix, best, first):  # type: ignore[no-untyped-def]
    """Update the best chains at all nodes from position `first` on.

    The table holds what a prunable edge continues, then what an unprunable one does, so that an
    edge costs two streamed numbers and one looked up.
    """
    nodes = graph.order.size
    for at in range(first, nodes):
        node = graph.order[at]
        value, source, parent = -np.inf, node, -1
        for e in range(graph.start[at], graph.start[at + 1]):
            key = table.value[slot[e]] + weight[e]
            if key < value or key == -np.inf:
                continue
            origin = table.source[slot[e]]
            if key > value or origin < source:
                value, source, parent = key, origin, e
        best.value[node], best.source[node], best.parent[node] = value, source, parent
        table.value[nodes + node], table.source[nodes + node] = value, source
        if _prefer_prefix(prefix, best, node):
            value, source = prefix.value[node], prefix.source[node]
        table.value[node], table.source[node] = value, source


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


class NaiveOrder:
    """Prunable edges in order of selection; a sweep starts where the last chain changed something.

    Args:
        graph: The graph.
    """

    def __init__(self, graph: ChannelGraph) -> None:
        self._graph = arrange(graph)
        self._removed = np.zeros(self._graph.edge.size, dtype=bool)
        self._prefix = empty_labels(graph.num_nodes)
        self._best = empty_labels(graph.num_nodes)
        sweep_prefix(self._graph, self._prefix)
        self._first = 0  # where the next sweep has to start
        self._table = empty_labels(2 * graph.num_nodes)
        unprunable = ~self._graph.prunable
        self._slot = (self._graph.src + graph.num_nodes * unprunable).astype(np.int32)
        self._weight = self._graph.weight.copy()  # -inf where removed

    def remove(self, edges: Int[np.ndarray, "_"]) -> None:
        """Remove edges, as if chains had taken them; the next sweep is a whole one."""
        gone = np.zeros(self._graph.edge.size, dtype=bool)
        gone[edges] = True
        self._removed |= gone[self._graph.edge]
        self._weight[self._removed] = -np.inf
        self._first = 0

    def next(self) -> np.ndarray | None:
        """Edges of the next chain, None if no product is above 1."""
        sweep_best(
            self._graph,
            self._slot,
            self._weight,
            self._table,
            self._prefix,
            self._best,
            self._first,
        )
        end = best_end(self._graph, self._best)
        if end < 0 or self._best.value[end] <= 0:
            return None
        chain = follow(self._graph, self._prefix, self._best, end)
        own = chain[self._graph.prunable[chain]]
        self._removed[own] = True
        self._weight[own] = -np.inf
        self._first = int(self._graph.position[self._graph.dst[own[0]]])
        return self._graph.edge[chain]

    def chains(self, limit: int) -> list[np.ndarray]:
        """The first chains, those of a single filter at the end too, `limit` at most."""
        found: list[np.ndarray] = []
        while len(found) < limit and (chain := self.next()) is not None:
            found.append(chain)
        if len(found) < limit:
            tail = self._sort_tail()
            found += [self._single(int(edge)) for edge in tail[: limit - len(found)]]
        return found

    def _sort_tail(self) -> np.ndarray:
        """All edges that are left, strongest first with their unprunable prefix and suffix."""
        graph, prefix = self._graph, self._prefix
        suffix = self._suffix = empty_labels(graph.order.size)
        sweep_suffix(graph, suffix)
        left = np.flatnonzero(graph.prunable & ~self._removed)
        left = left[np.argsort(graph.edge[left], kind="stable")]
        src, dst = graph.src[left], graph.dst[left]
        key = prefix.value[src] + graph.weight[left] + suffix.value[dst]
        source, end = prefix.source[src], suffix.source[dst]
        source[key == -np.inf] = end[key == -np.inf] = 0
        return left[np.lexsort((graph.edge[left], end, source, -key))]

    def _single(self, edge: int) -> np.ndarray:
        """A single filter with its unprunable prefix and suffix; alone if its norm is 0."""
        graph, found = self._graph, [edge]
        if graph.weight[edge] > -np.inf:
            for labels, ends, place in (
                (self._prefix, graph.src, 0),
                (self._suffix, graph.dst, None),
            ):
                parent = int(labels.parent[ends[edge]])
                while parent >= 0:
                    found.insert(len(found) if place is None else place, parent)
                    parent = int(labels.parent[ends[parent]])
        return graph.edge[np.array(found)]
