"""Single filters, once no chain has a product above 1: the best few, or all in order.

A filter counts with its best unprunable prefix and suffix. Few numbers decide: a histogram of keys,
rounded to float32, says which filters are certainly among the best, and only the bin at the cut is
sorted. A full order is a radix sort of the rounded keys; what they do not tell apart is then
compared as it is.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from jaxtyping import Bool, Float64, Int

from leanline.graph.channel_graph import ChannelGraph
from leanline.graph.rows import Rows
from leanline.graph.sweeps import Labels

_BIN_BITS = 18  # of a rounded key: sign, exponent and nine more
_SMALL, _SMALL_BITS = 100_000, 12  # edges of a graph for which fewer bins do
_FEW = 64  # filters with equal rounded keys that are sorted by insertion
_DIGIT = 11  # bits a pass of the radix sort


class Places(NamedTuple):
    """Where each edge leads, by the block that it is in.

    Attributes:
        first: First edge of each block, and the number of edges.
        columns: Sources of a dense block, 0 for pairs.
        src_start: Where the block's sources begin in `src`.
        dst_start: Where its targets begin in `dst`.
        src: Sources of all blocks.
        dst: Targets of all blocks.
    """

    first: Int[np.ndarray, "_"]
    columns: Int[np.ndarray, "blocks"]
    src_start: Int[np.ndarray, "blocks"]
    dst_start: Int[np.ndarray, "blocks"]
    src: Int[np.ndarray, "_"]
    dst: Int[np.ndarray, "_"]


def places_of(graph: ChannelGraph) -> Places:
    """Describe the blocks of a graph."""
    blocks = graph.blocks
    nothing = np.empty(0, np.int32)
    return Places(
        np.cumsum([0, *(b.num_edges for b in blocks)]),
        np.array([b.src.size if b.log_weight.ndim == 2 else 0 for b in blocks], dtype=np.int64),
        np.cumsum([0, *(b.src.size for b in blocks)])[:-1],
        np.cumsum([0, *(b.dst.size for b in blocks)])[:-1],
        np.concatenate([nothing, *(b.src for b in blocks)]),
        np.concatenate([nothing, *(b.dst for b in blocks)]),
    )


class Tail:
    """The prunable edges that are left, each a chain of its own.

    Args:
        rows: The graph.
        places: Its blocks.
        prefix: Best unprunable paths to each node.
        suffix: Best unprunable paths from each node.
    """

    def __init__(self, rows: Rows, places: Places, prefix: Labels, suffix: Labels) -> None:
        self._graph = (rows, prefix.value, suffix.value)
        self._places = places
        self._prefix = prefix
        self._suffix = suffix

    def mark(self, flags: Bool[np.ndarray, "edges"], count: int) -> None:
        """Set the flags of the best `count` edges (or all) among those without one."""
        if count <= 0:
            return
        bits = _SMALL_BITS if flags.size < _SMALL else _BIN_BITS
        shift = np.uint32(32 - bits)
        bins = np.zeros(1 << bits, dtype=np.int64)
        _count(*self._graph, flags, shift, bins)
        above = np.cumsum(bins[::-1])[::-1]  # in this bin or above
        cut = int(np.searchsorted(-above, -count, side="right")) - 1
        if cut < 0:
            cut, need = 0, int(bins[0])
        else:
            need = count - int(above[cut] - bins[cut])
        undecided = np.empty(int(bins[cut]), dtype=np.int32)
        _mark(*self._graph, flags, shift, cut, undecided)
        if need < undecided.size:
            undecided = self._exactly(undecided)[:need]
        flags[undecided] = True

    def ranked(
        self, flags: Bool[np.ndarray, "edges"], before: Bool[np.ndarray, "edges"]
    ) -> Int[np.ndarray, "_"]:
        """The edges with a flag that had none before, best first."""
        total = int(np.count_nonzero(flags)) - int(np.count_nonzero(before))
        edges, ranks = np.empty(total, dtype=np.int32), np.empty(total, dtype=np.uint32)
        _collect(*self._graph, flags, before, edges, ranks)
        ordered: np.ndarray
        ordered, ranks = _radix(edges, ranks)
        for first, last in _split_ties(
            *self._graph, self._places, self._prefix.source, self._suffix.source, ordered, ranks
        ):
            ordered[first:last] = self._exactly(ordered[first:last])
        return ordered

    def leads(self, edge: int) -> tuple[int, int]:
        """Source and target of an edge."""
        src, dst = _leads(self._places, edge)
        return int(src), int(dst)

    def _exactly(self, edges: Int[np.ndarray, "_"]) -> Int[np.ndarray, "_"]:
        """Sort edges by falling length, then source, end and edge; absent ones by edge."""
        edges = np.sort(edges)
        src, dst = _ends(self._places, edges)
        rows, before, behind = self._graph
        keys: Float64[np.ndarray, "_"] = before[src] + rows.weight[edges] + behind[dst]
        absent = keys == -np.inf
        if absent.all():
            return edges
        sources, ends = self._prefix.source[src], self._suffix.source[dst]
        sources[absent] = ends[absent] = 0
        return edges[np.lexsort((ends, sources, -keys))]


@numba.njit(cache=True, forceinline=True)
def _bits(key):  # type: ignore[no-untyped-def]
    """A uint32 that grows with a key rounded to float32."""
    bits = np.float32(key).view(np.uint32)
    return ~bits if bits >> np.uint32(31) else bits | np.uint32(0x80000000)


@numba.njit(cache=True, forceinline=True)
def _bin(key, shift):  # type: ignore[no-untyped-def]
    return np.int64(_bits(key) >> shift)


@numba.njit(cache=True)
def _count(rows, before, behind, flags, shift, bins):  # type: ignore[no-untyped-def]
    """Add the prunable edges without a flag to a histogram of their keys."""
    nodes = rows.order.size
    for node in range(nodes):
        for p in range(rows.piece_start[node], rows.piece_start[node + 1]):
            slot, edge = np.int64(rows.piece_slot[p]), np.int64(rows.piece_edge[p])
            if slot >= nodes:
                continue
            for k in range(rows.piece_size[p]):
                if not flags[edge + k]:
                    key = before[slot + k] + rows.weight[edge + k] + behind[node]
                    bins[_bin(key, shift)] += 1
        for p in range(rows.pair_start[node], rows.pair_start[node + 1]):
            slot, edge = rows.pair_slot[p], rows.pair_edge[p]
            if slot < nodes and not flags[edge]:
                bins[_bin(before[slot] + rows.weight[edge] + behind[node], shift)] += 1


@numba.njit(cache=True)
def _mark(rows, before, behind, flags, shift, cut, undecided):  # type: ignore[no-untyped-def]
    """Set the flags of edges in bins above the cut, and list those in the bin of the cut."""
    nodes = rows.order.size
    found = 0
    for node in range(nodes):
        for p in range(rows.piece_start[node], rows.piece_start[node + 1]):
            slot, edge = np.int64(rows.piece_slot[p]), np.int64(rows.piece_edge[p])
            if slot >= nodes:
                continue
            for k in range(rows.piece_size[p]):
                place = _bin(before[slot + k] + rows.weight[edge + k] + behind[node], shift)
                if place == cut and not flags[edge + k]:
                    undecided[found] = edge + k
                    found += 1
                flags[edge + k] |= place > cut
        for p in range(rows.pair_start[node], rows.pair_start[node + 1]):
            slot, edge = rows.pair_slot[p], rows.pair_edge[p]
            if slot < nodes:
                place = _bin(before[slot] + rows.weight[edge] + behind[node], shift)
                if place == cut and not flags[edge]:
                    undecided[found] = edge
                    found += 1
                flags[edge] |= place > cut


@numba.njit(cache=True)
def _collect(rows, before, behind, flags, old, edges, ranks):  # type: ignore[no-untyped-def]
    """List the prunable edges with a new flag; the best have the lowest rank."""
    nodes = rows.order.size
    found = 0
    for node in range(nodes):
        for p in range(rows.piece_start[node], rows.piece_start[node + 1]):
            slot, edge = np.int64(rows.piece_slot[p]), np.int64(rows.piece_edge[p])
            if slot >= nodes:
                continue
            for k in range(rows.piece_size[p]):
                if flags[edge + k] and not old[edge + k]:
                    key = before[slot + k] + rows.weight[edge + k] + behind[node]
                    edges[found], ranks[found] = edge + k, ~_bits(key)
                    found += 1
        for p in range(rows.pair_start[node], rows.pair_start[node + 1]):
            slot, edge = rows.pair_slot[p], rows.pair_edge[p]
            if slot < nodes and flags[edge] and not old[edge]:
                key = before[slot] + rows.weight[edge] + behind[node]
                edges[found], ranks[found] = edge, ~_bits(key)
                found += 1


@numba.njit(cache=True)
def _radix(edges, ranks):  # type: ignore[no-untyped-def]
    """Sort edges by rank; edges of equal rank stay in order."""
    size = edges.size
    digits = 1 << _DIGIT
    counts = np.zeros((3, digits + 1), dtype=np.int64)
    for k in range(size):
        for turn in range(3):
            counts[turn, 1 + ((ranks[k] >> np.uint32(turn * _DIGIT)) & np.uint32(digits - 1))] += 1
    other_edges, other_ranks = np.empty_like(edges), np.empty_like(ranks)
    for turn in range(3):
        place = np.cumsum(counts[turn])
        for k in range(size):
            digit = (ranks[k] >> np.uint32(turn * _DIGIT)) & np.uint32(digits - 1)
            other_edges[place[digit]], other_ranks[place[digit]] = edges[k], ranks[k]
            place[digit] += 1
        edges, other_edges = other_edges, edges
        ranks, other_ranks = other_ranks, ranks
    return edges, ranks


@numba.njit(cache=True)
def _split_ties(rows, before, behind, places, sources, ends, edges, ranks):  # type: ignore[no-untyped-def]
    """Sort short stretches of equal ranks exactly; returns start and stop of longer ones."""
    left = [(0, 0) for _ in range(0)]
    keys = np.empty(_FEW)
    labels = np.empty((_FEW, 2), dtype=np.int32)
    first = 0
    while first < edges.size:
        last = first + 1
        while last < edges.size and ranks[last] == ranks[first]:
            last += 1
        if last - first > _FEW:
            left.append((first, last))
        elif last - first > 1:
            for k in range(last - first):
                edge = edges[first + k]
                src, dst = _leads(places, edge)
                key, source, end = before[src] + rows.weight[edge] + behind[dst], 0, 0
                if key > -np.inf:
                    source, end = sources[src], ends[dst]
                at = k
                while at > 0:
                    other = (
                        keys[at - 1],
                        -labels[at - 1, 0],
                        -labels[at - 1, 1],
                        -edges[first + at - 1],
                    )
                    if (key, -source, -end, -edge) < other:
                        break
                    keys[at], edges[first + at] = keys[at - 1], edges[first + at - 1]
                    labels[at, 0], labels[at, 1] = labels[at - 1, 0], labels[at - 1, 1]
                    at -= 1
                keys[at], edges[first + at] = key, edge
                labels[at, 0], labels[at, 1] = source, end
        first = last
    return left


@numba.njit(cache=True)
def _leads(places, edge):  # type: ignore[no-untyped-def]
    """Source and target of an edge."""
    block = np.searchsorted(places.first, edge, side="right") - 1
    row = column = edge - places.first[block]
    if places.columns[block] > 0:
        row, column = row // places.columns[block], column % places.columns[block]
    src = places.src[places.src_start[block] + column]
    return src, places.dst[places.dst_start[block] + row]


@numba.njit(cache=True)
def _ends(places, edges):  # type: ignore[no-untyped-def]
    src, dst = np.empty(edges.size, dtype=np.int32), np.empty(edges.size, dtype=np.int32)
    for k in range(edges.size):
        src[k], dst[k] = _leads(places, edges[k])
    return src, dst
