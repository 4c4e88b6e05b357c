"""LEAN's selection (Algorithm 2): extract the longest chain, remove its filters, repeat.

What the thesis leaves open is settled so: a chain may start and end at any channel and holds at
least one prunable edge; its prunable edges are removed from the graph, unprunable ones stay; as
soon as no chain has a product above 1, a chain with two prunable edges cannot beat the better of
its halves, and the next is always the strongest single filter with its best unprunable prefix and
suffix. Equal lengths go to the lowest source node, then the lowest end node, then the lowest edge.
Filters of norm 0 are on no path and come last. `lazy` finds the chains above 1, `tail` the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from leanline.errors import ConfigError
from leanline.graph import lazy, sweeps
from leanline.graph.chain_state import State, empty_state
from leanline.graph.channel_graph import ChannelGraph
from leanline.graph.pruning_graph import PruningGraph
from leanline.graph.rows import rows_of
from leanline.graph.tail import Tail, places_of

_ROOM = 1 << 18  # edges of chains that are extracted at a time


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
    return Selection(order.flags(count) | ~order.prunable, count, order)


def strongest_path(graph: PruningGraph) -> Int[np.ndarray, "_"]:
    """Edges of the longest path from an input of the network to an output, empty if none is left.

    Nothing is extracted; filters of norm 0, pruned ones among them, are no part of it.
    """
    rows = rows_of(graph.channels)
    starts = np.zeros(graph.num_nodes, dtype=bool)
    starts[graph.inputs] = True
    labels = sweeps.empty_labels(graph.num_nodes)
    sweeps.sweep_from(rows, starts, labels)
    node = int(graph.outputs[np.argmax(labels.value[graph.outputs])])
    return np.array(_path(labels, node)[::-1], dtype=np.int64)


class ChainOrder:
    """The order in which chains select prunable edges, computed as far as it is asked for.

    Every selection is a prefix of it, so a larger one continues where a smaller one stopped.
    """

    def __init__(self, graph: ChannelGraph) -> None:
        self._rows = rows_of(graph)
        nodes = graph.num_nodes
        self._prefix = sweeps.empty_labels(nodes)
        sweeps.sweep_prefix(self._rows, self._prefix)
        self._suffix = sweeps.empty_labels(nodes)
        sweeps.sweep_suffix(self._rows, self._suffix)
        self._tail = Tail(self._rows, places_of(graph), self._prefix, self._suffix)
        self._state: State | None = empty_state(nodes, lazy.BUFFER)
        lazy.start(self._rows, self._state, self._prefix)
        self._taken = np.zeros(graph.num_edges, dtype=bool)  # by chains with a product above 1
        self._head = _Chains([], [])
        self._count = 0  # prunable edges in the head
        self._ranked = np.empty(0, dtype=np.int32)  # of the tail
        self._marked: np.ndarray | None = None  # taken or ranked

    @property
    def prunable(self) -> Bool[np.ndarray, "edges"]:
        """For each edge, in the graph's order: prunable."""
        return self._rows.prunable

    def order(self, limit: int) -> Int[np.ndarray, "_"]:
        """The first `limit` prunable edges (all, if there are fewer) in order of selection."""
        self._extend(limit)
        self._rank(limit - self._count)
        tail = self._ranked[: max(0, limit - self._count)]
        return np.concatenate([self._first(limit), tail], dtype=np.int64)

    def flags(self, limit: int) -> Bool[np.ndarray, "edges"]:
        """For each edge: among the first `limit`; takes less time than their order."""
        self._extend(limit)
        if limit < self._count:
            flags = np.zeros_like(self._taken)
            flags[self._first(limit)] = True
        else:
            flags = self._taken.copy()
            self._tail.mark(flags, limit - self._count)
        return flags

    def chains(self, limit: int) -> list[Int[np.ndarray, "_"]]:
        """The chains that hold the first `limit` prunable edges; the last is cut to the count."""
        self._extend(limit)
        self._rank(limit - self._count)
        found: list[np.ndarray] = []
        left = limit
        for chain in self._all_chains():
            if left <= 0:
                break
            own = self.prunable[chain]
            if own.sum() > left:
                chain = chain[: int(np.flatnonzero(own)[left - 1]) + 1]
            left -= int(own.sum())
            found.append(chain.astype(np.int64))
        return found

    def _extend(self, limit: int) -> None:
        """Extract chains until they hold `limit` prunable edges or none has a product above 1."""
        while self._state is not None and self._count < limit:
            room = max(_ROOM, 2 * self._rows.order.size)
            edges, stops = (np.empty(room, dtype=np.int32) for _ in range(2))
            count, chains, more = lazy.extract(
                self._rows,
                self._state,
                self._prefix,
                self._taken,
                limit - self._count,
                edges,
                stops,
            )
            self._count += count
            if chains:
                self._head.edges.append(edges[: stops[chains - 1]].copy())
                self._head.stops.append(stops[:chains].copy())
            if not more:
                self._state = None

    def _first(self, limit: int) -> Int[np.ndarray, "_"]:
        """Prunable edges of the head, `limit` at most."""
        found = [np.empty(0, dtype=np.int32)]
        size = 0
        for edges in self._head.edges:
            if size >= limit:
                break
            found.append(edges[self.prunable[edges]])
            size += found[-1].size
        return np.concatenate(found)[:limit]

    def _rank(self, limit: int) -> None:
        """Sort the tail as far as its first `limit` edges."""
        if limit <= self._ranked.size:
            return
        before = self._taken if self._marked is None else self._marked
        self._marked = before.copy()
        self._tail.mark(self._marked, limit - self._ranked.size)
        self._ranked = np.concatenate([self._ranked, self._tail.ranked(self._marked, before)])

    def _all_chains(self) -> Iterator[Int[np.ndarray, "_"]]:
        for edges, stops in zip(self._head.edges, self._head.stops, strict=True):
            yield from np.split(edges, stops[:-1])
        for edge in self._ranked.tolist():
            yield self._single(edge)

    def _single(self, edge: int) -> Int[np.ndarray, "_"]:
        """A single filter with its unprunable prefix and suffix; alone if its norm is 0."""
        if self._rows.weight[edge] == -np.inf:
            return np.array([edge])
        src, dst = self._tail.leads(edge)
        return np.array([*_path(self._prefix, src)[::-1], edge, *_path(self._suffix, dst)])


class _Chains(NamedTuple):
    """Chains one after the other, in parts; the stops are those of a part."""

    edges: list[np.ndarray]
    stops: list[np.ndarray]


def _path(labels: sweeps.Labels, node: int) -> list[int]:
    """Edges of the path of a label, from the node on."""
    found: list[int] = []
    while (edge := int(labels.edge[node])) >= 0:
        found.append(edge)
        node = int(labels.node[node])
    return found
