"""Weighted graphs of channels, stored as blocks of edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np
from jaxtyping import Bool, Float32, Int, Shaped

from leanline.errors import GraphError

Values = np.ndarray | Sequence[float]  # one entry an edge


@dataclass(frozen=True, eq=False)
class EdgeBlock:
    """Edges of one operation.

    Dense when `log_weight` has two axes: an edge from every node of `src` to every node of `dst`.
    Otherwise pairs: edge k goes from src[k] to dst[k] (a diagonal, an index map, any list).

    Attributes:
        src: Nodes that the edges leave.
        dst: Nodes that they enter.
        log_weight: Natural logarithm of the weights, shape (dst, src) or (edges,); -inf = absent.
        prunable: One flag for the block, or one for each edge in the shape of `log_weight`.
    """

    src: Int[np.ndarray, "_"]
    dst: Int[np.ndarray, "_"]
    log_weight: Float32[np.ndarray, "..."]
    prunable: Bool[np.ndarray, "..."]

    @property
    def num_edges(self) -> int:
        """Number of edges, absent ones too."""
        return int(self.log_weight.size)


class Edges(NamedTuple):
    """All edges of a graph in one list, in the order of its blocks (dense ones row by row)."""

    src: Int[np.ndarray, "edges"]
    dst: Int[np.ndarray, "edges"]
    log_weight: Float32[np.ndarray, "edges"]
    prunable: Bool[np.ndarray, "edges"]


@dataclass(frozen=True, eq=False)
class ChannelGraph:
    """A directed acyclic graph of channels whose edges are operators with norms as weights.

    Attributes:
        num_nodes: Number of channels.
        blocks: The edges.
        ends: Nodes where a chain may start or stop. Those inside a step that the reduced graph
            holds as one edge (a convolution with its batch norm) are not among them, so that both
            graphs have the same chains.
        order: The nodes in a topological order.
    """

    num_nodes: int
    blocks: tuple[EdgeBlock, ...]
    ends: Bool[np.ndarray, "nodes"]
    order: Int[np.ndarray, "nodes"]

    @classmethod
    def from_edges(
        cls,
        src: Values,
        dst: Values,
        weight: Values,
        prunable: Values,
        num_nodes: int,
    ) -> ChannelGraph:
        """Build a graph from a list of edges.

        Args:
            src: Node that each edge leaves, 0 to num_nodes - 1.
            dst: Node that each edge enters.
            weight: Norm of each edge, >= 0; an edge of norm 0 counts but no chain uses it.
            prunable: Which edges are to be selected or pruned; the others always stay.
            num_nodes: Number of nodes.

        Raises:
            GraphError: If there is a cycle, an id out of range, or a weight that is negative, NaN
                or infinite.
        """
        arrays = [np.asarray(a) for a in (src, dst, weight, prunable)]
        if any(a.ndim != 1 or a.size != arrays[0].size for a in arrays):
            shapes = ", ".join(str(a.shape) for a in arrays)
            raise GraphError(f"src, dst, weight and prunable need one entry an edge, got {shapes}")
        sources, targets = arrays[0].astype(np.int64), arrays[1].astype(np.int64)
        for name, ids in (("src", sources), ("dst", targets)):
            bad = np.flatnonzero((ids < 0) | (ids >= num_nodes))
            if bad.size:
                raise GraphError(
                    f"edge {bad[0]} has {name} {ids[bad[0]]}: nodes are 0 to {num_nodes - 1}"
                )
        block = EdgeBlock(
            sources.astype(np.int32),
            targets.astype(np.int32),
            log_weights(arrays[2]),
            arrays[3].astype(bool),
        )
        return cls.from_blocks((block,), num_nodes)

    @classmethod
    def from_blocks(
        cls,
        blocks: tuple[EdgeBlock, ...],
        num_nodes: int,
        ends: Bool[np.ndarray, "nodes"] | None = None,
    ) -> ChannelGraph:
        """Build a graph from blocks of edges.

        Raises:
            GraphError: If there is a cycle.
        """
        if all(_ascending(block) for block in blocks):
            order = np.arange(num_nodes, dtype=np.int32)
        else:
            edges = _flatten(blocks)
            order = _topological(edges.src, edges.dst, num_nodes)
            if order.size < num_nodes:
                raise GraphError(
                    f"the graph has a cycle: {num_nodes - order.size} of {num_nodes} nodes are on "
                    "one or behind one"
                )
        everywhere = np.ones(num_nodes, dtype=bool)
        return cls(num_nodes, tuple(blocks), everywhere if ends is None else ends, order)

    @property
    def num_edges(self) -> int:
        """Number of edges, those of norm 0 too."""
        return sum(block.num_edges for block in self.blocks)

    @property
    def num_prunable(self) -> int:
        """Number of prunable edges, those of norm 0 too."""
        return sum(
            block.num_edges * bool(block.prunable)
            if block.prunable.ndim == 0
            else int(block.prunable.sum())
            for block in self.blocks
        )

    def edges(self) -> Edges:
        """All edges in one list; for a large graph this is the largest array there is."""
        return _flatten(self.blocks)


def log_weights(weight: Shaped[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    """Logarithms of norms as stored in a graph; 0 becomes -inf.

    Raises:
        GraphError: If a weight is negative, NaN or infinite.
    """
    values = np.asarray(weight)
    if values.dtype != np.float32:
        values = values.astype(np.float64)
    largest = values.max(initial=0.0)
    if not (np.isfinite(largest) and values.min(initial=0.0) >= 0):
        bad = np.argwhere(~(np.isfinite(values) & (values >= 0)))
        place = tuple(int(i) for i in bad[0])
        raise GraphError(
            f"the weight of edge {place[0] if len(place) == 1 else place} is {values[place]}: "
            "norms are finite and not negative"
        )
    with np.errstate(divide="ignore"):
        logs: np.ndarray = np.log(values).astype(np.float32, copy=False)
    return logs


def _ascending(block: EdgeBlock) -> bool:
    """Whether all edges lead from lower to higher node ids."""
    if block.num_edges == 0:
        return True
    if block.log_weight.ndim == 2:
        return bool(block.src.max() < block.dst.min())
    return bool((block.src < block.dst).all())


def _flatten(blocks: tuple[EdgeBlock, ...]) -> Edges:
    total = sum(block.num_edges for block in blocks)
    src, dst = np.empty(total, dtype=np.int32), np.empty(total, dtype=np.int32)
    weight, prunable = np.empty(total, dtype=np.float32), np.empty(total, dtype=bool)
    start = 0
    for block in blocks:
        part = slice(start, start + block.num_edges)
        dense = block.log_weight.ndim == 2
        src[part] = np.tile(block.src, block.dst.size) if dense else block.src
        dst[part] = np.repeat(block.dst, block.src.size) if dense else block.dst
        weight[part] = block.log_weight.reshape(-1)
        prunable[part] = block.prunable.reshape(-1)
        start = part.stop
    return Edges(src, dst, weight, prunable)


@numba.njit(cache=True)
def _topological(src, dst, num_nodes):  # type: ignore[no-untyped-def]
    """Kahn's algorithm; fewer nodes than the graph has when there is a cycle."""
    waiting = np.zeros(num_nodes, dtype=np.int64)
    first = np.full(num_nodes, -1, dtype=np.int64)
    following = np.full(src.size, -1, dtype=np.int64)
    for edge in range(src.size):
        waiting[dst[edge]] += 1
        following[edge] = first[src[edge]]
        first[src[edge]] = edge
    order = np.empty(num_nodes, dtype=np.int32)
    count = 0
    for node in range(num_nodes):
        if waiting[node] == 0:
            order[count] = node
            count += 1
    done = 0
    while done < count:
        edge = first[order[done]]
        done += 1
        while edge >= 0:
            waiting[dst[edge]] -= 1
            if waiting[dst[edge]] == 0:
                order[count] = dst[edge]
                count += 1
            edge = following[edge]
    return order[:count]
