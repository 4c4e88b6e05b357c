"""Gradient of the taps of a sparse 3x3 convolution: nine inner products an edge.

For the edge from plane p to plane j with dilation d, the gradient of tap (a, b) is the inner
product of j's gradient with p shifted by (a d, b d). Four rows one dilation apart share their
input rows, as in `leanline.kernels.conv3`. Sums run in float32 over `FLUSH` strips of rows at most
and then in float64, so that the error stays near one rounding of the result.
"""

from typing import Any

import numba as nb
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from leanline.kernels import vector as v

ROWS = 4
LANES = v.LANES
FLUSH = 8


@intrinsic  # type: ignore[untyped-decorator]
def _strip(
    typing_context, planes, grads, sums, slot, source, target, row_step, down, gap, rows, columns
):  # type: ignore[no-untyped-def]
    """Add one strip's products to the nine vectors ``sums[slot:]`` of one edge."""
    signature = types.void(planes, grads, sums, *[types.int64] * 8)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        slot, source, target, row_step, down, gap, rows, columns = args[3:]
        data, gradient, total = (
            context.make_array(kind)(context, builder, value).data
            for kind, value in zip(sig.args[:3], args[:3], strict=True)
        )
        offsets = [builder.mul(row_step, v.int_constant(row)) for row in range(-1, ROWS + 1)]
        below = [builder.mul(down, v.int_constant(row)) for row in range(ROWS)]
        shifts = [builder.mul(gap, v.int_constant(column)) for column in (-1, 0, 1)]
        places = [builder.add(slot, v.int_constant(i * LANES)) for i in range(9)]
        held = v.Registers(builder, 9)
        for i in range(9):
            held[i] = v.load(builder, total, places[i])
        valid = [builder.icmp_signed(">", rows, v.int_constant(row)) for row in range(ROWS)]
        # a row that no valid row needs may lie in another plane, whose NaN would spoil the sums
        # although it is multiplied by zero: read a row of this plane in its place
        read = offsets[:3] + [
            builder.select(use, offset, offsets[1])
            for use, offset in zip(valid[1:], offsets[3:], strict=True)
        ]
        with cgutils.for_range_slice(
            builder, v.int_constant(0), columns, v.int_constant(LANES)
        ) as (x, _):
            gate = [
                builder.select(
                    valid[row],
                    v.load(builder, gradient, builder.add(builder.add(target, below[row]), x)),
                    v.zero(),
                )
                for row in range(ROWS)
            ]
            for row in range(-1, ROWS + 1):
                at = builder.add(builder.add(source, read[row + 1]), x)
                for column in range(3):
                    pixels = v.load(builder, data, builder.add(at, shifts[column]))
                    for out in range(max(0, row - 1), min(ROWS, row + 2)):
                        tap = 3 * (row - out + 1) + column
                        held[tap] = v.multiply_add(builder, pixels, gate[out], held[tap])
        everywhere = ir.Constant(v.MASK, [True] * LANES)
        for i in range(9):
            v.store_masked(builder, held[i], total, places[i], everywhere)
        return context.get_dummy_value()

    return signature, generate


@nb.njit(nogil=True, cache=True)
def _flush(sums, edges, at, out):  # type: ignore[no-untyped-def]
    for edge in range(edges):
        for tap in range(9):
            begin = (edge * 9 + tap) * LANES
            for lane in range(LANES):
                out[at + edge * 9 + tap] += sums[begin + lane]
                sums[begin + lane] = 0.0


@nb.njit(nogil=True, cache=True, boundscheck=False)
def tap_gradients(planes, grads, source, edges, dilation, layout, area, out):  # type: ignore[no-untyped-def]
    """Add the tap gradients of a step's edges to ``out``.

    Args:
        planes: float32 buffer of activations of one image.
        grads: float32 buffer of gradients, with zeros outside the pictures.
        source: int64 offset of each edge's source plane, its pixel (0, 0).
        edges: first edge, one past the last, where the first edge's taps begin in ``out``.
        dilation: step between taps in pixels.
        layout: offset of the centre tap for output pixel (0, 0) from a source's pixel (0, 0);
            floats from one source row to the next; offset of the gradient's pixel (0, 0); floats
            from one of its rows to the next.
        area: height and width of the gradient.
        out: float64, 9 an edge, added to in place.
    """
    first, last, tap = edges
    centre, stride, target, target_stride = layout
    height, width = area
    sums = np.zeros((last - first) * 9 * LANES, np.float32)
    held = 0
    for strip in range(0, height, ROWS * dilation):
        for y in range(strip, min(strip + dilation, height)):
            rows = min(ROWS, (height - 1 - y) // dilation + 1)
            for edge in range(first, last):
                _strip(
                    planes,
                    grads,
                    sums,
                    (edge - first) * 9 * LANES,
                    source[edge] + centre + y * stride,
                    target + y * target_stride,
                    stride * dilation,
                    target_stride * dilation,
                    dilation,
                    rows,
                    width,
                )
            held += 1
            if held == FLUSH:
                _flush(sums, last - first, tap, out)
                held = 0
    _flush(sums, last - first, tap, out)
