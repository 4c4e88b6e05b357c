"""Data gradient and tap gradient of 3x3 convolutions of stride 1, in one pass.

Let plane p be read by plane j. The gradient of p takes j's gradient through the mirrored taps; the
gradient of a tap is the inner product of j's gradient, shifted by that tap, with p. Both need the
same nine shifted loads of j's gradient, which are most of the work: so they are done together, two
multiply-adds a load.

Sums of the tap gradients run in float32 over `FLUSH` strips of rows at most and then in float64, so
that the error stays near one rounding of the result.
"""

from typing import Any

import numba as nb
import numpy as np
from numba.core import cgutils, types
from numba.extending import intrinsic

from leanline.kernels import vector as v
from leanline.kernels.conv3 import GATE_NONE, GATE_OTHER, START_FROM_BIAS, START_FROM_PLANE

EDGES = 4  # at a time, so that the rows that they read stay in the first-level cache
ROWS = 4
VECTORS = 2 if v.LANES == 16 else 1
TILE = VECTORS * v.LANES
LANES = v.LANES
FLUSH = 8

_PLACE = 15


@intrinsic  # type: ignore[untyped-decorator]
def _tile(typing_context, grads, source, taps, planes, sums, place):  # type: ignore[no-untyped-def]
    """One tile of p's gradient, and its part of the tap gradients of some edges."""
    whole = types.UniTuple(types.int64, _PLACE)
    signature = types.void(grads, source, taps, planes, sums, whole)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        gradient, sources, weights, data, total = (
            context.make_array(sig.args[i])(context, builder, args[i]).data for i in range(5)
        )
        (first, last, tap, pixel, row_step, dilation, target, target_step) = (
            builder.extract_value(args[5], i) for i in range(8)
        )
        (start, gate, here, here_step, rows, columns, slot) = (
            builder.extract_value(args[5], i) for i in range(8, _PLACE)
        )
        count = ROWS * VECTORS
        own, held, values = (v.Registers(builder, n) for n in (count, 9, count))
        along = [v.int_constant(part * LANES) for part in range(VECTORS)]
        masks = [v.lane_mask(builder, builder.sub(columns, step)) for step in along]
        valid = [builder.icmp_signed(">", rows, v.int_constant(row)) for row in range(ROWS)]
        inside = builder.icmp_signed(">=", columns, v.int_constant(TILE))
        offsets = [builder.mul(row_step, v.int_constant(row)) for row in range(-1, ROWS + 1)]
        shifts = [builder.mul(dilation, v.int_constant(column)) for column in (-1, 0, 1)]
        places = [
            builder.add(target, builder.mul(target_step, v.int_constant(r))) for r in range(ROWS)
        ]
        # rows that are not valid may lie in another plane, whose NaN would spoil sums although it
        # counts nothing: read the first row in their place
        read = [here] + [
            builder.add(
                here,
                builder.select(
                    valid[r], builder.mul(here_step, v.int_constant(r)), v.int_constant(0)
                ),
            )
            for r in range(1, ROWS)
        ]
        near = [offsets[0], offsets[1], offsets[2]] + [
            builder.select(valid[r], offsets[r + 2], offsets[1]) for r in range(1, ROWS)
        ]
        with builder.if_else(inside, likely=True) as (full, partial):
            with full:
                for r in range(ROWS):
                    for part in range(VECTORS):
                        at = builder.add(read[r], along[part])
                        own[r * VECTORS + part] = v.load(builder, data, at)
            with partial:
                for r in range(ROWS):
                    for part in range(VECTORS):
                        at = builder.add(read[r], along[part])
                        own[r * VECTORS + part] = v.load_masked(builder, data, at, masks[part])
        for r in range(1, ROWS):
            for part in range(VECTORS):
                index = r * VECTORS + part
                own[index] = builder.select(valid[r], own[index], v.zero())
        fresh = builder.icmp_signed("==", start, v.int_constant(START_FROM_BIAS))
        with builder.if_else(fresh) as (then, otherwise):
            with then:
                for index in range(count):
                    values[index] = v.zero()
            with otherwise:
                for r in range(ROWS):
                    for part in range(VECTORS):
                        at = builder.add(places[r], along[part])
                        values[r * VECTORS + part] = v.load(builder, gradient, at)
        with cgutils.for_range_slice(builder, first, last, v.int_constant(1)) as (edge, _):
            index = builder.sub(edge, first)
            begin = builder.add(tap, builder.mul(index, v.int_constant(9)))
            at_sums = builder.add(slot, builder.mul(index, v.int_constant(9 * LANES)))
            kept = [builder.add(at_sums, v.int_constant(i * LANES)) for i in range(9)]
            factors = []
            for i in range(9):
                held[i] = v.load(builder, total, kept[i])
                one = v.load_scalar(builder, weights, builder.add(begin, v.int_constant(i)))
                factors.append(v.splat(builder, one))
            base = builder.add(v.load_scalar(builder, sources, edge), pixel)
            for row in range(-1, ROWS + 1):
                line = builder.add(base, near[row + 1])
                for column in range(3):
                    at = builder.add(line, shifts[column])
                    for part in range(VECTORS):
                        pixels = v.load(builder, gradient, builder.add(at, along[part]))
                        for below in range(max(0, row - 1), min(ROWS, row + 2)):
                            number = 3 * (row - below + 1) + column
                            spot = below * VECTORS + part
                            values[spot] = v.multiply_add(
                                builder, pixels, factors[number], values[spot]
                            )
                            held[number] = v.multiply_add(builder, pixels, own[spot], held[number])
            for i in range(9):
                v.store(builder, held[i], total, kept[i])
        gated = builder.icmp_signed("==", gate, v.int_constant(GATE_OTHER))
        with builder.if_then(gated):
            for index in range(count):
                values[index] = v.keep_positive(builder, values[index], own[index])
        for r in range(ROWS):
            with builder.if_then(valid[r]):
                parts = [values[r * VECTORS + part] for part in range(VECTORS)]
                v.store_columns(builder, parts, gradient, places[r], columns, masks)
        return context.get_dummy_value()

    return signature, generate


@nb.njit(nogil=True, cache=True)
def _flush(sums, out, first_taps):  # type: ignore[no-untyped-def]
    """Add up the lanes; the taps of an edge lie mirrored in ``sums``."""
    for edge in range(first_taps.size):
        for tap in range(9):
            begin = (edge * 9 + tap) * LANES
            for lane in range(LANES):
                out[first_taps[edge] + 8 - tap] += sums[begin + lane]
                sums[begin + lane] = 0.0


@nb.njit(nogil=True, cache=True, boundscheck=False)
def run_back3(grads, source, taps, planes, edges, first_taps, window, layout, area, out):  # type: ignore[no-untyped-def]
    """Gradient of one plane by its readers of one window, and the gradients of their taps.

    Args:
        grads: float32 buffer of gradients of one image; p's is written.
        source: int64 offset of each mirrored edge's gradient plane, its pixel (0, 0).
        taps: float32, mirrored taps, 9 an edge.
        planes: float32 buffer of activations.
        edges: first edge, one past the last edge, where the first edge's mirrored taps begin.
        first_taps: where each of these edges' taps begin in ``out``.
        window: dilation, start (`START_FROM_BIAS` means zero), gate (`GATE_NONE`, `GATE_OTHER`).
        layout: offset of the centre tap for p's pixel (0, 0) from a reader's pixel (0, 0); floats
            from one reader's row to the next; offset of p's pixel (0, 0) among the gradients, among
            the activations; floats from one of its rows to the next.
        area: first row, one past the last, first column, one past the last.
        out: float64, gradients of the taps, added to.
    """
    first, last, tap = edges
    dilation, start, gate = window
    centre, stride, target, here, target_stride = layout
    top, bottom, left, right = area
    sums = np.zeros((last - first) * 9 * LANES, np.float32)
    strips = 0
    for strip in range(top, bottom, ROWS * dilation):
        for y in range(strip, min(strip + dilation, bottom)):
            rows = min(ROWS, (bottom - 1 - y) // dilation + 1)
            for begin in range(first, last, EDGES):
                end = min(begin + EDGES, last)
                for x in range(left, right, TILE):
                    there = y * target_stride + x
                    place = (
                        begin,
                        end,
                        tap + 9 * (begin - first),
                        centre + y * stride + x,
                        stride * dilation,
                        dilation,
                        target + there,
                        target_stride * dilation,
                        start if begin == first else START_FROM_PLANE,
                        gate if end == last else GATE_NONE,
                        here + there,
                        target_stride * dilation,
                        rows,
                        right - x,
                        (begin - first) * 9 * LANES,
                    )
                    _tile(grads, source, taps, planes, sums, place)
            strips += 1
            if strips == FLUSH:
                _flush(sums, out, first_taps)
                strips = 0
    _flush(sums, out, first_taps)
