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
    typing_context, planes, grads, sums, slot, source, target, stride, dilation, rows, columns
):  # type: ignore[no-untyped-def]
    """Add one strip's products to the nine vectors ``sums[slot:]`` of one edge."""
    signature = types.void(planes, grads, sums, *[types.int64] * 7)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        slot, source, target, stride, dilation, rows, columns = args[3:]
        data, gradient, total = (
            context.make_array(kind)(context, builder, value).data
            for kind, value in zip(sig.args[:3], args[:3], strict=True)
        )
        row_step = builder.mul(stride, dilation)
        offsets = [builder.mul(row_step, v.int_constant(row)) for row in range(-1, ROWS + 1)]
        shifts = [builder.mul(dilation, v.int_constant(column)) for column in (-1, 0, 1)]
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
                    v.load(
                        builder, gradient, builder.add(builder.add(target, offsets[row + 1]), x)
                    ),
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
def _flush(sums, first, last, out):  # type: ignore[no-untyped-def]
    for edge in range(last - first):
        for tap in range(9):
            begin = (edge * 9 + tap) * LANES
            for lane in range(LANES):
                out[(first + edge) * 9 + tap] += sums[begin + lane]
                sums[begin + lane] = 0.0


@nb.njit(nogil=True, cache=True, boundscheck=False)
def tap_gradients(
    planes, grads, source, first, last, dilation, target, origin, stride, height, width, out
):  # type: ignore[no-untyped-def]
    """Add the tap gradients of edges ``first..last`` of one segment to ``out``.

    Args:
        planes: float32 buffer of activations of one image.
        grads: float32 buffer of gradients, laid out alike, with zeros outside the pictures.
        source: int64 offset of each edge's source plane.
        first: first edge of the segment.
        last: one past the last edge.
        dilation: step between taps in pixels.
        target: offset of the plane that the segment wrote.
        origin: offset of pixel (0, 0) inside a plane.
        stride: floats from one row to the next.
        height: rows of the picture.
        width: columns of the picture.
        out: float64, 9 an edge, added to in place.
    """
    sums = np.zeros((last - first) * 9 * LANES, np.float32)
    held = 0
    for strip in range(0, height, ROWS * dilation):
        for y in range(strip, min(strip + dilation, height)):
            rows = min(ROWS, (height - 1 - y) // dilation + 1)
            pixel = origin + y * stride
            for edge in range(first, last):
                _strip(
                    planes,
                    grads,
                    sums,
                    (edge - first) * 9 * LANES,
                    source[edge] + pixel,
                    target + pixel,
                    stride,
                    dilation,
                    rows,
                    width,
                )
            held += 1
            if held == FLUSH:
                _flush(sums, first, last, out)
                held = 0
    _flush(sums, first, last, out)
