"""The longest chain, again and again, without a pass over the graph for each.

Removing edges only makes chains shorter, so an old label of a node (length, source and last edge of
the best chain that ends there) is an upper bound of the new one, and only what is about to be used
has to be made exact.

- Each node has a *buffer* of its best in-edges and a *bound*, the label that no other in-edge
  exceeds. The best of the buffer is the best of all if it is above the bound; otherwise the buffer
  is filled again by one pass over the node's in-edges.
- A label is exact in a round (one round a chain) if the edge that it was found over is still there,
  what the edge continues is exact itself, and both add up to it.
- A heap holds the nodes where chains may end by the label that each had last. The first is made
  exact until it stays first: then it is the end of the longest chain.
- Chains that cannot make a difference (`sweep_floor`) are not followed further.

Labels are compared by length, then lowest source; chains that end at different nodes then by the
lowest node, and in-edges of a node by the lowest edge. A pass over in-edges compares rounded-up
float32 values first, 16 at a time; everything that passes is compared in float64. Two chains whose
lengths round to the same float64 count as equal; which of these is first is then defined but need
not follow the rule of sources.

All compiled functions are in one file because Numba's cache of a function notices changes of the
function's own file only; what they work on is in `chain_state`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numba
import numba.extending
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

# Counting references to the arrays of a state, at every access, would take half of the time. Where
# nothing is allocated there is nothing to count.
_njit: Any = numba.njit
intrinsic: Decorator = numba.extending.intrinsic
_jit: Decorator = functools.partial(_njit, cache=True, _nrt=False)
_inline_jit: Decorator = functools.partial(_njit, cache=True, _nrt=False, forceinline=True)

_LANES = 16
BUFFER = 32  # in-edges in a buffer
_HALF = 16  # of which stay when it is full
_LAST = np.int32(np.iinfo(np.int32).max)  # behind every node and edge
_ALWAYS = np.iinfo(np.int64).max  # a round that never comes

# entries of State.counters
_ROUND, _HEAP, _TAKEN = 0, 1, 2


@intrinsic
def _reach(typingctx: Any, values: Any, slot: Any, weights: Any, edge: Any, low: Any) -> Any:
    """Bit k: values[slot + k] + weights[edge + k] >= low, for 16 float32 sums."""
    signature = types.uint32(values, types.int64, weights, types.int64, types.float32)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.FloatType(), _LANES)
        loaded = []
        for kind, array, place in zip(signature.args[0:3:2], args[0:3:2], args[1:4:2], strict=True):
            proxy: Any = cgutils.create_struct_proxy
            data = proxy(kind)(context, builder, value=array).data
            address = builder.bitcast(builder.gep(data, [place]), vector.as_pointer())
            loaded.append(builder.load(address, align=4))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), _LANES), [0] * _LANES)
        undefined = ir.Constant(vector, ir.Undefined)
        first = builder.insert_element(undefined, args[4], ir.IntType(32)(0))
        limit = builder.shuffle_vector(first, undefined, lanes)
        bits = builder.fcmp_ordered(">=", builder.fadd(*loaded), limit)
        return builder.zext(builder.bitcast(bits, ir.IntType(_LANES)), ir.IntType(32))

    return signature, generate


@intrinsic
def _lowest_bit(typingctx: Any, mask: Any) -> Any:
    """Number of the lowest bit that is set, of a mask that is not 0."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.zext(builder.cttz(args[0], ir.IntType(1)(1)), ir.IntType(64))

    return types.int64(types.uint32), generate


@_inline_jit
def _round_up(value):  # type: ignore[no-untyped-def]
    """A float32 that is not below a float64."""
    if value == -np.inf:
        return np.float32(value)
    return np.float32(value + 1.2e-7 * abs(value))


@_inline_jit
def _above(value, source, edge, bound_value, bound_source, bound_edge):  # type: ignore[no-untyped-def]
    """Whether one label beats another."""
    if value != bound_value:
        return value > bound_value
    if source != bound_source:
        return source < bound_source
    return edge < bound_edge


@_jit
def _halve(state, node):  # type: ignore[no-untyped-def]
    """Sort a full buffer, keep the better half, and make the first of the others the bound."""
    edges, slots = state.buffer_edge[node], state.buffer_slot[node]
    weights, keys = state.buffer_weight[node], state.key
    for k in range(1, BUFFER):
        key, edge, slot, weight = keys[k], edges[k], slots[k], weights[k]
        at = k
        while at > 0 and _above(
            key, state.source[slot], edge, keys[at - 1], state.source[slots[at - 1]], edges[at - 1]
        ):
            keys[at], edges[at] = keys[at - 1], edges[at - 1]
            slots[at], weights[at] = slots[at - 1], weights[at - 1]
            at -= 1
        keys[at], edges[at], slots[at], weights[at] = key, edge, slot, weight
    state.bound_value[node] = keys[_HALF]
    state.bound_source[node] = state.source[slots[_HALF]]
    state.bound_edge[node] = edges[_HALF]


@_inline_jit
def _consider(rows, state, node, slot, edge, size):  # type: ignore[no-untyped-def]
    """Add an in-edge to the buffer if it is above the bound; returns the buffer's size."""
    weight = rows.weight[edge]
    key = state.value[slot] + weight
    if key == -np.inf or not _above(
        key,
        state.source[slot],
        edge,
        state.bound_value[node],
        state.bound_source[node],
        state.bound_edge[node],
    ):
        return size
    state.key[size] = key
    state.buffer_edge[node, size] = edge
    state.buffer_slot[node, size] = slot
    state.buffer_weight[node, size] = weight
    if size + 1 < BUFFER:
        return size + 1
    _halve(state, node)
    return _HALF


@_inline_jit
def _coarse_bound(state, node):  # type: ignore[no-untyped-def]
    """A float32 that is not above a node's bound."""
    value = state.bound_value[node]
    return -_round_up(-value) if value > -np.inf else np.float32(value)


@_jit
def _fill(rows, state, node, low):  # type: ignore[no-untyped-def]
    """Fill a buffer with the best in-edges among those with keys of at least `low`."""
    state.bound_value[node] = low
    state.bound_source[node] = state.bound_edge[node] = _LAST
    size = 0
    for p in range(rows.piece_start[node], rows.piece_start[node + 1]):
        slot, edge = np.int64(rows.piece_slot[p]), np.int64(rows.piece_edge[p])
        count = np.int64(rows.piece_size[p])
        limit = _coarse_bound(state, node)
        k = 0
        while k + _LANES <= count:
            mask = _reach(state.coarse, slot + k, rows.weight, edge + k, limit)
            if mask != 0:
                while mask != 0:
                    j = k + _lowest_bit(mask)
                    mask &= mask - np.uint32(1)
                    size = _consider(rows, state, node, slot + j, edge + j, size)
                limit = _coarse_bound(state, node)
            k += _LANES
        while k < count:
            size = _consider(rows, state, node, slot + k, edge + k, size)
            k += 1
    for p in range(rows.pair_start[node], rows.pair_start[node + 1]):
        size = _consider(rows, state, node, rows.pair_slot[p], rows.pair_edge[p], size)
    state.buffer_size[node] = size


@_jit
def _refill(rows, state, node, best):  # type: ignore[no-untyped-def]
    """Fill a buffer again; `best` is the key of its best edge, -inf if there is none."""
    floor, step = state.floor[node], state.step[node]
    low = best if best > -np.inf else state.bound_value[node]
    tries = 0
    while True:
        low = max(low - step, floor)
        _fill(rows, state, node, low)
        if state.buffer_size[node] > 0 or low <= floor:
            break
        step *= 2
        tries += 1
        if tries == 4:
            step = np.inf
    if state.bound_value[node] > low:
        step *= 0.7
    elif state.buffer_size[node] < 8:
        step *= 1.5
    state.step[node] = min(max(step, 1e-6), 1e3)


@_jit
def _set_label(state, prefix, node, value, source, edge, slot, weight):  # type: ignore[no-untyped-def]
    """Lower the label of a node."""
    own = prefix.value.size + node
    state.value[own], state.source[own] = value, source
    state.coarse[own] = _round_up(value)
    state.edge[node], state.slot[node], state.weight[node] = edge, slot, weight
    if state.stamp[node] == _ALWAYS:
        return
    before = prefix.value[node]
    if before > value or (before == value and prefix.source[node] <= source):
        value, source = before, prefix.source[node]
        state.stamp[node] = _ALWAYS  # the unprunable path stays: from now on it is the better one
    state.value[node], state.source[node] = value, source
    state.coarse[node] = _round_up(value)


@_jit
def _lower(rows, state, prefix, node):  # type: ignore[no-untyped-def]
    """Give a node the best label that its in-edges with their present labels allow."""
    while True:
        value, source, edge, best = -np.inf, _LAST, _LAST, -1
        for k in range(state.buffer_size[node]):
            other = state.buffer_slot[node, k]
            key = state.value[other] + state.buffer_weight[node, k]
            if key >= value and _above(
                key, state.source[other], state.buffer_edge[node, k], value, source, edge
            ):
                value, source = key, state.source[other]
                edge, best = state.buffer_edge[node, k], k
        if (
            best >= 0
            and value > -np.inf
            and _above(
                value,
                source,
                edge,
                state.bound_value[node],
                state.bound_source[node],
                state.bound_edge[node],
            )
        ):
            slot, weight = state.buffer_slot[node, best], state.buffer_weight[node, best]
            _set_label(state, prefix, node, value, source, edge, slot, weight)
            return
        if state.bound_value[node] <= state.floor[node]:
            none = np.int32(-1)
            _set_label(state, prefix, node, -np.inf, node, none, none, np.float32(-np.inf))
            state.stamp[prefix.value.size + node] = _ALWAYS
            return
        _refill(rows, state, node, value)


@_jit
def _make_exact(rows, state, prefix, node):  # type: ignore[no-untyped-def]
    """Make the label of a node exact, and with it those along its chain."""
    nodes = prefix.value.size
    now = state.counters[_ROUND]
    state.stack[0] = node
    depth = 1
    while depth > 0:
        node = state.stack[depth - 1]
        own = nodes + node
        if state.stamp[own] >= now:
            depth -= 1
            continue
        edge, slot = state.edge[node], state.slot[node]
        if edge >= 0:
            value = state.value[slot] + state.weight[node]
            if value == state.value[own] and state.source[slot] == state.source[own]:
                if state.stamp[slot] >= now:
                    state.stamp[own] = now
                    state.stamp[node] = max(state.stamp[node], now)
                    depth -= 1
                else:
                    state.stack[depth] = slot if slot < nodes else slot - nodes
                    depth += 1
                continue
        _lower(rows, state, prefix, node)


@_inline_jit
def _before(state, value, source, node, place):  # type: ignore[no-untyped-def]
    """Whether an end belongs above another place of the heap."""
    return _above(
        value,
        source,
        node,
        state.heap_value[place],
        state.heap_source[place],
        state.heap_node[place],
    )


@_jit
def _sink(state, value, source, node, place):  # type: ignore[no-untyped-def]
    """Put an end into a place of the heap or below."""
    size = state.counters[_HEAP]
    while 2 * place + 1 < size:
        child = 2 * place + 1
        if child + 1 < size and _before(
            state,
            state.heap_value[child + 1],
            state.heap_source[child + 1],
            state.heap_node[child + 1],
            child,
        ):
            child += 1
        if _before(state, value, source, node, child):
            break
        state.heap_value[place] = state.heap_value[child]
        state.heap_source[place] = state.heap_source[child]
        state.heap_node[place] = state.heap_node[child]
        place = child
    state.heap_value[place], state.heap_source[place] = value, source
    state.heap_node[place] = node


@_jit
def start(rows, state, prefix):  # type: ignore[no-untyped-def]
    """Find all labels and build the heap."""
    nodes = prefix.value.size
    for node in rows.order:
        state.value[node], state.source[node] = prefix.value[node], prefix.source[node]
        _fill(rows, state, node, state.floor[node])
        _lower(rows, state, prefix, node)
        if state.bound_value[node] > state.floor[node]:
            state.step[node] = 0.5 * (state.value[nodes + node] - state.bound_value[node])
    size = 0
    for node in range(nodes):
        if rows.ends[node] and state.value[nodes + node] > 0:
            state.heap_value[size] = state.value[nodes + node]
            state.heap_source[size] = state.source[nodes + node]
            state.heap_node[size] = node
            size += 1
    state.counters[_HEAP] = size
    for place in range(size // 2, -1, -1):
        if place < size:
            _sink(
                state,
                state.heap_value[place],
                state.heap_source[place],
                state.heap_node[place],
                place,
            )


@_jit
def _next_end(rows, state, prefix):  # type: ignore[no-untyped-def]
    """The node where the longest chain ends; -1 if none has a product above 1."""
    nodes = prefix.value.size
    while state.counters[_HEAP] > 0:
        node = state.heap_node[0]
        _make_exact(rows, state, prefix, node)
        value, source = state.value[nodes + node], state.source[nodes + node]
        if value > 0:
            if value == state.heap_value[0] and source == state.heap_source[0]:
                return node
            _sink(state, value, source, node, 0)
        else:
            last = state.counters[_HEAP] - 1
            state.counters[_HEAP] = last
            if last > 0:
                _sink(
                    state,
                    state.heap_value[last],
                    state.heap_source[last],
                    state.heap_node[last],
                    0,
                )
    return -1


@_jit
def _take(rows, state, prefix, taken, end, edges, size):  # type: ignore[no-untyped-def]
    """Append the chain that ends at a node and remove its prunable edges; returns the new size."""
    nodes = prefix.value.size
    first, node, in_prefix = size, end, False
    while True:
        if in_prefix:
            edge, node = prefix.edge[node], prefix.node[node]
            if edge < 0:
                break
            edges[size] = edge
            size += 1
            continue
        edge, slot = state.edge[node], state.slot[node]
        edges[size] = edge
        size += 1
        if slot >= nodes:
            node = slot - nodes
            continue
        rows.weight[edge] = -np.inf
        taken[edge] = True
        state.counters[_TAKEN] += 1
        state.edge[node] = -1
        last = state.buffer_size[node] - 1
        for k in range(last + 1):
            if state.buffer_edge[node, k] == edge:
                state.buffer_edge[node, k] = state.buffer_edge[node, last]
                state.buffer_slot[node, k] = state.buffer_slot[node, last]
                state.buffer_weight[node, k] = state.buffer_weight[node, last]
                break
        state.buffer_size[node] = last
        node = slot
        value, own = prefix.value[node], nodes + node
        in_prefix = value > state.value[own] or (
            value == state.value[own] and prefix.source[node] <= state.source[own]
        )
    last = size - 1
    while first < last:
        edges[first], edges[last] = edges[last], edges[first]
        first, last = first + 1, last - 1
    return size


@_jit
def extract(rows, state, prefix, taken, limit, edges, stops):  # type: ignore[no-untyped-def]
    """Extract chains until `limit` prunable edges are taken or there is no room for another chain.

    Returns the number of prunable edges, that of chains, and whether there are more; the edges of
    the chains are in `edges`, the place behind each chain's last in `stops`.
    """
    size = chains = 0
    before = state.counters[_TAKEN]
    while (
        state.counters[_TAKEN] - before < limit
        and chains < stops.size
        and size + prefix.value.size <= edges.size
    ):
        state.counters[_ROUND] += 1
        end = _next_end(rows, state, prefix)
        if end < 0:
            return state.counters[_TAKEN] - before, chains, False
        size = _take(rows, state, prefix, taken, end, edges, size)
        stops[chains] = size
        chains += 1
    return state.counters[_TAKEN] - before, chains, True
