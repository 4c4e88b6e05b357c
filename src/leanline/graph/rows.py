"""The in-edges of every node, in the blocks' own layout: what all passes over a graph walk along.

An edge is named by its place in the graph's own order, which is also the place of its weight. The
rows of a dense block are pieces of those weights whose sources lie side by side in node order;
pairs, and dense blocks whose sources are scattered or whose flags are mixed, are listed edge by
edge.

A path to a node has one of two states, with a prunable edge in it or perhaps without one, and an
edge continues the one or the other. So an edge reads a *slot* of a table of 2 * nodes labels: slot
u for a prunable edge that leaves u, slot nodes + u for an unprunable one.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int

from leanline.graph.channel_graph import ChannelGraph, EdgeBlock

_SHORT_RUN = 8  # sources side by side, on average, below which listing the edges is better


class Rows(NamedTuple):
    """The edges of a graph, by the node that they enter.

    Attributes:
        order: Nodes in a topological order.
        ends: Nodes where a chain may start or stop.
        weight: Log weight of each edge, a copy that may be written to.
        prunable: Flag of each edge.
        piece_start: First piece of each node, and the number of pieces.
        piece_slot: Slot of the first source of a piece.
        piece_edge: First edge of a piece.
        piece_size: Number of its edges.
        pair_start: First listed edge of each node, and the number of listed edges.
        pair_slot: Slot of the source of a listed edge.
        pair_edge: The listed edge.
    """

    order: Int[np.ndarray, "nodes"]
    ends: Bool[np.ndarray, "nodes"]
    weight: Float32[np.ndarray, "edges"]
    prunable: Bool[np.ndarray, "edges"]
    piece_start: Int[np.ndarray, "_"]
    piece_slot: Int[np.ndarray, "pieces"]
    piece_edge: Int[np.ndarray, "pieces"]
    piece_size: Int[np.ndarray, "pieces"]
    pair_start: Int[np.ndarray, "_"]
    pair_slot: Int[np.ndarray, "pairs"]
    pair_edge: Int[np.ndarray, "pairs"]


class _Piece(NamedTuple):
    """A part of the rows of a dense block: the same columns of each."""

    dst: Int[np.ndarray, "rows"]
    slot: int
    edge: Int[np.ndarray, "rows"]
    size: int


class _Pairs(NamedTuple):
    dst: Int[np.ndarray, "pairs"]
    slot: Int[np.ndarray, "pairs"]
    edge: Int[np.ndarray, "pairs"]


def rows_of(graph: ChannelGraph) -> Rows:
    """Arrange a graph; the weights are copied once."""
    pieces: list[_Piece] = []
    pairs: list[_Pairs] = []
    weight = np.empty(graph.num_edges, dtype=np.float32)
    prunable = np.empty(graph.num_edges, dtype=bool)
    first = 0
    for block in graph.blocks:
        part = slice(first, first + block.num_edges)
        weight[part] = block.log_weight.reshape(-1)
        prunable[part] = block.prunable.reshape(-1)
        runs = _runs(block.src)
        if not block.num_edges:
            continue
        if _is_regular(block, len(runs)):
            offset = 0 if block.prunable.flat[0] else graph.num_nodes
            starts = first + block.src.size * np.arange(block.dst.size, dtype=np.int64)
            pieces += [
                _Piece(block.dst, offset + int(block.src[a]), starts + a, b - a) for a, b in runs
            ]
        else:
            pairs.append(_listed(block, first, prunable[part], graph.num_nodes))
        first = part.stop
    return Rows(
        graph.order,
        graph.ends,
        weight,
        prunable,
        *_by_node(pieces, graph.num_nodes),
        *_pairs_by_node(pairs, graph.num_nodes),
    )


def _runs(src: Int[np.ndarray, "_"]) -> list[tuple[int, int]]:
    """Start and stop of the stretches of nodes side by side."""
    cuts = np.flatnonzero(np.diff(src) != 1) + 1
    edges = [0, *cuts.tolist(), src.size]
    return list(pairwise(edges))


def _is_regular(block: EdgeBlock, runs: int) -> bool:
    """Whether the rows of a block are to be walked in pieces."""
    if block.log_weight.ndim != 2:
        return False
    same = block.prunable.all() or not block.prunable.any()
    return bool(same) and (runs == 1 or runs * _SHORT_RUN <= block.src.size)


def _listed(block: EdgeBlock, first: int, prunable: Bool[np.ndarray, "_"], nodes: int) -> _Pairs:
    src, dst = block.src, block.dst
    if block.log_weight.ndim == 2:
        src, dst = np.tile(src, dst.size), np.repeat(dst, src.size)
    slot = np.where(prunable, src, src + nodes).astype(np.int32)
    return _Pairs(dst, slot, np.arange(first, first + dst.size, dtype=np.int32))


def _by_node(pieces: list[_Piece], nodes: int) -> tuple[np.ndarray, ...]:
    heights = [piece.dst.size for piece in pieces]
    dst = np.concatenate([np.empty(0, np.int32), *(piece.dst for piece in pieces)])
    slot = np.repeat(np.array([piece.slot for piece in pieces], dtype=np.int32), heights)
    edge = np.concatenate([np.empty(0, np.int64), *(piece.edge for piece in pieces)])
    size = np.repeat(np.array([piece.size for piece in pieces], dtype=np.int32), heights)
    order = np.argsort(dst, kind="stable")
    return _starts(dst, nodes), slot[order], edge[order].astype(np.int32), size[order]


def _pairs_by_node(pairs: list[_Pairs], nodes: int) -> tuple[np.ndarray, ...]:
    nothing = np.empty(0, np.int32)
    dst, slot, edge = (np.concatenate([nothing, *(p[k] for p in pairs)]) for k in range(3))
    order = np.argsort(dst, kind="stable")
    return _starts(dst, nodes), slot[order], edge[order]


def _starts(dst: Int[np.ndarray, "_"], nodes: int) -> Int[np.ndarray, "_"]:
    counts = np.bincount(dst, minlength=nodes)
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
