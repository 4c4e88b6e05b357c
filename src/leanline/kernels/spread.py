"""Transposed convolution over planes: 2x2 taps of stride 2 with vectors, and any other.

With 2x2 taps of stride 2 every output pixel has one tap: a vector of source pixels gives two
vectors of output pixels in each of two rows.
"""

from typing import Any

import numba as nb
from numba.core import cgutils, types
from numba.extending import intrinsic

from leanline.kernels import vector as v
from leanline.kernels.conv3 import GATE_NONE, GATE_OTHER, GATE_SELF, START_FROM_BIAS

VECTORS = 4 if v.LANES == 16 else 2
TILE = VECTORS * v.LANES

_PLACE = 11


@intrinsic  # type: ignore[untyped-decorator]
def _double(typing_context, planes, source, taps, out, gates, bias, place):  # type: ignore[no-untyped-def]
    """One source row of `TILE` pixels becomes two rows of twice as many."""
    whole = types.UniTuple(types.int64, _PLACE)
    signature = types.void(planes, source, taps, out, gates, types.float32, whole)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data, sources, weights, result, gate_data = (
            context.make_array(sig.args[i])(context, builder, args[i]).data for i in range(5)
        )
        (first, last, tap, pixel, target, stride, start, gate, gate_at, columns, rows) = (
            builder.extract_value(args[6], i) for i in range(_PLACE)
        )
        # index: row, column of the output within its pair of rows and columns, vector
        sums = v.Registers(builder, 4 * VECTORS)
        along = [v.int_constant(part * v.LANES) for part in range(2 * VECTORS)]
        lines = [v.int_constant(0), stride]
        valid = [builder.icmp_signed(">", rows, v.int_constant(row)) for row in range(2)]
        fresh = builder.icmp_signed("==", start, v.int_constant(START_FROM_BIAS))
        with builder.if_else(fresh) as (then, otherwise):
            with then:
                for index in range(len(sums)):
                    sums[index] = v.splat(builder, args[5])
            with otherwise:
                for row in range(2):
                    for part in range(VECTORS):
                        at = builder.add(target, lines[row])
                        low, high = (
                            v.load(builder, result, builder.add(at, along[2 * part + half]))
                            for half in range(2)
                        )
                        for column in range(2):
                            index = (2 * row + column) * VECTORS + part
                            sums[index] = v.every_other(builder, low, high, column)
        with cgutils.for_range_slice(builder, first, last, v.int_constant(1)) as (edge, _):
            base = builder.add(v.load_scalar(builder, sources, edge), pixel)
            begin = builder.add(tap, builder.mul(builder.sub(edge, first), v.int_constant(4)))
            factors = [
                v.splat(
                    builder, v.load_scalar(builder, weights, builder.add(begin, v.int_constant(i)))
                )
                for i in range(4)
            ]
            for part in range(VECTORS):
                pixels = v.load(builder, data, builder.add(base, along[part]))
                for i in range(4):
                    index = i * VECTORS + part
                    sums[index] = v.multiply_add(builder, pixels, factors[i], sums[index])
        own = builder.icmp_signed("==", gate, v.int_constant(GATE_SELF))
        with builder.if_then(own):
            for index in range(len(sums)):
                sums[index] = v.keep_positive(builder, sums[index], sums[index])
        other = builder.icmp_signed("==", gate, v.int_constant(GATE_OTHER))
        masks = [v.lane_mask(builder, builder.sub(columns, step)) for step in along]
        for row in range(2):
            with builder.if_then(valid[row]):
                values: list[v.IR] = []
                for part in range(VECTORS):
                    even, odd = (sums[(2 * row + c) * VECTORS + part] for c in range(2))
                    values += v.interleave(builder, even, odd)
                held = v.Registers(builder, len(values))
                for index, value in enumerate(values):
                    held[index] = value
                with builder.if_then(other):
                    for index in range(len(values)):
                        at = builder.add(builder.add(gate_at, lines[row]), along[index])
                        gates_here = v.load(builder, gate_data, at)
                        held[index] = v.keep_positive(builder, held[index], gates_here)
                values = [held[index] for index in range(len(values))]
                at = builder.add(target, lines[row])
                v.store_columns(builder, values, result, at, columns, masks)
        return context.get_dummy_value()

    return signature, generate


@nb.njit(nogil=True, cache=True, boundscheck=False)
def run_double(planes, source, taps, out, gates, bias, edges, ends, layout, area):  # type: ignore[no-untyped-def]
    """Transposed convolution with 2x2 taps of stride 2 that cuts off nothing at the top and left.

    Args:
        planes: float32 buffer of one image that holds the sources.
        source: int64 offset of each edge's source plane, its pixel (0, 0), in ``planes``.
        taps: float32, 4 an edge, row by row.
        out: float32 buffer that is written.
        gates: float32 buffer that is read for `GATE_OTHER`, laid out as ``out``.
        bias: value to start from.
        edges: first edge, one past the last edge, where the first edge's taps begin.
        ends: start and gate.
        layout: floats from one source row to the next; offset of the output's pixel (0, 0) in
            ``out``; floats from one of its rows to the next; offset of pixel (0, 0) in ``gates``.
        area: first row, one past the last, and number of columns of the output; the first row is
            even.
    """
    first, last, tap = edges
    start, gate = ends
    stride, target, target_stride, gate_at = layout
    top, bottom, width = area
    for y in range(top, bottom, 2):
        for x in range(0, width, 2 * TILE):
            there = y * target_stride + x
            place = (
                first,
                last,
                tap,
                (y // 2) * stride + x // 2,
                target + there,
                target_stride,
                start,
                gate,
                gate_at + there,
                width - x,
                bottom - y,
            )
            _double(planes, source, taps, out, gates, bias, place)


@nb.njit(nogil=True, cache=True, boundscheck=False)
def run_spread(planes, source, taps, out, gates, bias, edges, window, layout, sizes, area):  # type: ignore[no-untyped-def]
    """Any transposed convolution, pixel by pixel of the output's rows.

    Args:
        planes: float32 buffer of one image that holds the sources.
        source: int64 offset of each edge's source plane, its pixel (0, 0), in ``planes``.
        taps: float32, row by row for each edge.
        out: float32 buffer that is written.
        gates: float32 buffer that is read for `GATE_OTHER`, laid out as ``out``.
        bias: value to start from.
        edges: first edge, one past the last edge, where the first edge's taps begin.
        window: rows, columns, row step, column step, row dilation, column dilation, rows cut off
            at the top, columns cut off at the left, start, gate.
        layout: floats from one source row to the next; offset of the output's pixel (0, 0) in
            ``out``; floats from one of its rows to the next; offset of pixel (0, 0) in ``gates``.
        sizes: height and width of the sources.
        area: first row, one past the last, first column, one past the last.
    """
    first, last, tap = edges
    rows, columns, row_step, column_step, row_dilation, gap, cut_top, cut_left, start, gate = window
    stride, target, target_stride, gate_at = layout
    height, width = sizes
    top, bottom, left, right = area
    for y in range(top, bottom):
        line = target + y * target_stride
        if start == START_FROM_BIAS:
            out[line + left : line + right] = bias
        for row in range(rows):
            from_top = y + cut_top - row * row_dilation
            if from_top < 0 or from_top % row_step or from_top // row_step >= height:
                continue
            above = (from_top // row_step) * stride
            for edge in range(first, last):
                base = source[edge] + above
                weights = tap + ((edge - first) * rows + row) * columns
                for column in range(columns):
                    # out[x] where x = column_step * t + shift, for source pixel t
                    shift = column * gap - cut_left
                    begin = max(0, -((shift - left) // column_step))
                    end = min(width, (right - 1 - shift) // column_step + 1)
                    factor = taps[weights + column]
                    at = line + shift
                    for t in range(begin, end):
                        out[at + t * column_step] += factor * planes[base + t]
        if gate != GATE_NONE:
            held = gate_at + y * target_stride
            for x in range(left, right):
                value = out[line + x] if gate == GATE_SELF else gates[held + x]
                if value <= 0:
                    out[line + x] = 0
