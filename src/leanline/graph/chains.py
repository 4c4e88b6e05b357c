"""LEAN's selection (Algorithm 2): extract the longest chain, remove its filters, repeat.

What the thesis leaves open is settled so: a chain may start and end at any channel and holds at
least one prunable edge; its prunable edges are removed from the graph, unprunable ones stay; as
soon as no chain has a product above 1, a chain with two prunable edges cannot beat the better of
its halves, and the next is always the strongest single filter with its best unprunable prefix and
suffix. Equal lengths go to the lowest source node, then the lowest end node, then the lowest edge.
Filters of norm 0 are on no path and come last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from leanline.errors import ConfigError
from leanline.graph import sweeps
from leanline.graph.channel_graph import ChannelGraph
from leanline.graph.pruning_graph import PruningGraph


@dataclass(frozen=True, eq=False)
class Selection:
    """What `longest_chains` selected.

    Attributes:
        kept: For each edge, in the graph's order: selected, or unprunable.
        count: Number of prunable edges that are kept.
        chain_order: The order that it was cut from.
    """

    kept: Bool[np.ndarray, "edges"]
    count: int
    chain_order: ChainOrder

    @cached_property
    def chains(self) -> list[Int[np.ndarray, "_"]]:
        """Edges of each chain from its source on, in order of extraction; the last may be cut."""
        return self.chain_order.chains(self.count)


def longest_chains(graph: ChannelGraph | PruningGraph, keep: float) -> Selection:
    """Select prunable edges by longest chains.

    Args:
        graph: A channel graph, or the pruning graph of a network.
        keep: Fraction of the prunable edges to keep, in (0, 1]; at least one edge is kept.

    Returns:
        The selection; the last chain is cut, from its source on, to meet the count exactly.

    Raises:
        ConfigError: If `keep` is outside (0, 1] or nothing is prunable.
    """
    channels = graph.channels if isinstance(graph, PruningGraph) else graph
    total = channels.num_prunable
    if not 0 < keep <= 1:
        raise ConfigError(f"keep is {keep}: give a fraction above 0 and at most 1")
    if total == 0:
        raise ConfigError("the graph has no prunable edges")
    order = ChainOrder(channels)
    count = max(1, round(keep * total))
    edges = channels.edges()
    kept = ~edges.prunable
    kept[order.order(count)] = True
    return Selection(kept, count, order)


def strongest_path(graph: PruningGraph) -> Int[np.ndarray, "_"]:
    """Edges of the longest path from an input of the network to an output, empty if none is left.

    Nothing is extracted; filters of norm 0, pruned ones among them, are no part of it.
    """
    arrays = sweeps.arrange(graph.channels)
    starts = np.zeros(graph.num_nodes, dtype=bool)
    starts[graph.inputs] = True
    labels = sweeps.empty_labels(graph.num_nodes)
    sweeps.sweep_from(arrays, starts, labels)
    node = int(graph.outputs[np.argmax(labels.value[graph.outputs])])
    found: list[int] = []
    while (edge := int(labels.parent[node])) >= 0:
        found.append(int(arrays.edge[edge]))
        node = int(arrays.src[edge])
    return np.array(found[::-1], dtype=np.int64)


class ChainOrder:
    """The order in which chains select prunable edges, computed as far as it is asked for.

    Every selection is a prefix of it, so a larger one continues where a smaller one stopped.
    """

    def __init__(self, graph: ChannelGraph) -> None:
        self._graph = sweeps.arrange(graph)
        nodes = graph.num_nodes
        self._removed = np.zeros(self._graph.edge.size, dtype=bool)
        self._prefix = sweeps.empty_labels(nodes)
        self._best = sweeps.empty_labels(nodes)
        sweeps.sweep_prefix(self._graph, self._prefix)
        self._head: list[np.ndarray] = []  # chains found by sweeps, as positions of edges
        self._taken: list[int] = []  # their prunable edges
        self._first = 0  # where the next sweep has to start
        self._tail: np.ndarray | None = None

    def order(self, limit: int) -> Int[np.ndarray, "_"]:
        """The first `limit` prunable edges (all, if there are fewer) in order of selection."""
        self._extend(limit)
        found = np.array(self._taken[:limit], dtype=np.int64)
        if self._tail is not None and limit > found.size:
            found = np.concatenate([found, self._tail[: limit - found.size]])
        return self._graph.edge[found].astype(np.int64)

    def chains(self, limit: int) -> list[Int[np.ndarray, "_"]]:
        """The chains that hold the first `limit` prunable edges; the last is cut to the count."""
        self._extend(limit)
        found: list[np.ndarray] = []
        left = limit
        for chain in self._all_chains():
            if left <= 0:
                break
            own = self._graph.prunable[chain]
            if own.sum() > left:
                chain = chain[: int(np.flatnonzero(own)[left - 1]) + 1]
            left -= int(own.sum())
            found.append(self._graph.edge[chain].astype(np.int64))
        return found

    def _extend(self, limit: int) -> None:
        while self._tail is None and len(self._taken) < limit:
            sweeps.sweep_best(self._graph, self._removed, self._prefix, self._best, self._first)
            end = sweeps.best_end(self._graph, self._best)
            if end < 0 or self._best.value[end] <= 0:
                self._tail = self._sort_tail()
                break
            chain = sweeps.follow(self._graph, self._prefix, self._best, end)
            own = chain[self._graph.prunable[chain]]
            self._removed[own] = True
            self._first = int(self._graph.position[self._graph.dst[own[0]]])
            self._head.append(chain)
            self._taken.extend(own.tolist())

    def _sort_tail(self) -> Int[np.ndarray, "_"]:
        """All edges that are left, strongest first with their unprunable prefix and suffix."""
        graph, prefix = self._graph, self._prefix
        suffix = self._suffix
        left = np.flatnonzero(graph.prunable & ~self._removed)
        left = left[np.argsort(graph.edge[left], kind="stable")]
        src, dst = graph.src[left], graph.dst[left]
        key = prefix.value[src] + graph.weight[left] + suffix.value[dst]
        order = np.argsort(-key, kind="stable")
        ranked = key[order]
        tied = np.zeros(ranked.size, dtype=bool)
        same = (ranked[1:] == ranked[:-1]) & np.isfinite(ranked[1:])
        tied[1:] |= same
        tied[:-1] |= same
        places = np.flatnonzero(tied)
        group = order[places]
        ends = (suffix.source[dst[group]], prefix.source[src[group]], -key[group])
        order[places] = group[np.lexsort(ends)]
        return left[order]

    @cached_property
    def _suffix(self) -> sweeps.Labels:
        suffix = sweeps.empty_labels(self._graph.order.size)
        sweeps.sweep_suffix(self._graph, suffix)
        return suffix

    def _all_chains(self) -> Iterator[Int[np.ndarray, "_"]]:
        yield from self._head
        for edge in self._tail if self._tail is not None else ():
            yield self._single(int(edge))

    def _single(self, edge: int) -> Int[np.ndarray, "_"]:
        """A single filter with its unprunable prefix and suffix; alone if its norm is 0."""
        graph, found = self._graph, [edge]
        weight: Float[np.ndarray, ""] = graph.weight[edge]
        if weight == -np.inf:
            return np.array(found)
        parent = int(self._prefix.parent[graph.src[edge]])
        while parent >= 0:
            found.insert(0, parent)
            parent = int(self._prefix.parent[graph.src[parent]])
        parent = int(self._suffix.parent[graph.dst[edge]])
        while parent >= 0:
            found.append(parent)
            parent = int(self._suffix.parent[graph.dst[parent]])
        return np.array(found)
