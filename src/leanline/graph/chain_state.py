"""What the chain engine of `lazy` knows about a graph while it runs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int


class State(NamedTuple):
    """What is known about the chains of a graph; rows.weight is -inf for edges that are taken.

    The label tables have 2 * nodes slots, see `rows`: what a prunable edge may continue, then what
    an unprunable one may.
    """

    value: Float64[np.ndarray, "slots"]
    source: Int[np.ndarray, "slots"]
    coarse: Float32[np.ndarray, "slots"]  # value, rounded up
    stamp: Int[np.ndarray, "slots"]  # round in which the label was exact
    edge: Int[np.ndarray, "nodes"]  # last edge of the best chain, -1: to be found
    slot: Int[np.ndarray, "nodes"]  # what that edge continues
    weight: Float32[np.ndarray, "nodes"]  # of that edge; rows.weight is too large for a cache
    floor: Float64[np.ndarray, "nodes"]
    buffer_size: Int[np.ndarray, "nodes"]
    buffer_edge: Int[np.ndarray, "nodes _"]
    buffer_slot: Int[np.ndarray, "nodes _"]
    buffer_weight: Float32[np.ndarray, "nodes _"]
    bound_value: Float64[np.ndarray, "nodes"]
    bound_source: Int[np.ndarray, "nodes"]
    bound_edge: Int[np.ndarray, "nodes"]
    step: Float64[np.ndarray, "nodes"]  # how far below the best a buffer reaches
    heap_value: Float64[np.ndarray, "nodes"]
    heap_source: Int[np.ndarray, "nodes"]
    heap_node: Int[np.ndarray, "nodes"]
    stack: Int[np.ndarray, "nodes"]
    key: Float64[np.ndarray, "_"]  # of a buffer that is being filled
    counters: Int[np.ndarray, "_"]


def empty_state(nodes: int, buffer: int) -> State:
    """Memory for `lazy.start`.

    Args:
        nodes: Number of nodes of the graph.
        buffer: Number of in-edges in a node's buffer.
    """

    def ints(*shape: int) -> Int[np.ndarray, "..."]:
        return np.full(shape, -1, dtype=np.int32)

    def floats(*shape: int) -> Float64[np.ndarray, "..."]:
        return np.full(shape, -np.inf)

    return State(
        value=floats(2 * nodes),
        source=np.tile(np.arange(nodes, dtype=np.int32), 2),
        coarse=floats(2 * nodes).astype(np.float32),
        stamp=np.zeros(2 * nodes, dtype=np.int64),
        edge=ints(nodes),
        slot=ints(nodes),
        weight=floats(nodes).astype(np.float32),
        floor=floats(nodes),
        buffer_size=np.zeros(nodes, dtype=np.int32),
        buffer_edge=ints(nodes, buffer),
        buffer_slot=ints(nodes, buffer),
        buffer_weight=floats(nodes, buffer).astype(np.float32),
        bound_value=floats(nodes),
        bound_source=ints(nodes),
        bound_edge=ints(nodes),
        step=np.ones(nodes),
        heap_value=floats(nodes),
        heap_source=ints(nodes),
        heap_node=ints(nodes),
        stack=ints(nodes),
        key=floats(buffer),
        counters=np.zeros(8, dtype=np.int64),
    )
