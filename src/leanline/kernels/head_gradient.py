"""Gradients of a dense 1x1 layer, plane by plane: of the plane, and of its column of the matrix.

Both read the gradients of all outputs, so they are done in one pass. Sums of the column's gradient
run in float32 over `FLUSH` rows at most and then in float64.
"""

from typing import Any

import numba as nb
import numpy as np
from numba.core import cgutils, types
from numba.extending import intrinsic

from leanline.kernels import vector as v
from leanline.kernels.conv3 import START_FROM_BIAS, START_FROM_PLANE

LANES = v.LANES
BLOCK = 5 if LANES == 16 else 3
FLUSH = 16

_PLACE = 6


def _make_row(block: int) -> Any:
    """Build the kernel of one row for ``block`` outputs."""

    @intrinsic  # type: ignore[untyped-decorator]
    def row(typing_context, seeds, seed_at, column, planes, grads, sums, place):  # type: ignore[no-untyped-def]
        whole = types.UniTuple(types.int64, _PLACE)
        signature = types.void(seeds, seed_at, column, planes, grads, sums, whole)

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            upstream, where, factors, data, gradient, total = (
                context.make_array(sig.args[i])(context, builder, args[i]).data for i in range(6)
            )
            output, pixel, here, there, start, width = (
                builder.extract_value(args[6], i) for i in range(_PLACE)
            )
            outputs = [builder.add(output, v.int_constant(i)) for i in range(block)]
            begins = [builder.add(v.load_scalar(builder, where, one), pixel) for one in outputs]
            weights = [v.splat(builder, v.load_scalar(builder, factors, one)) for one in outputs]
            kept = [builder.mul(one, v.int_constant(LANES)) for one in outputs]
            held = v.Registers(builder, block)
            value = v.Registers(builder, 1)
            for i in range(block):
                held[i] = v.load(builder, total, kept[i])
            fresh = builder.icmp_signed("==", start, v.int_constant(START_FROM_BIAS))
            step = v.int_constant(LANES)
            with cgutils.for_range_slice(builder, v.int_constant(0), width, step) as (x, _):
                mask = v.lane_mask(builder, builder.sub(width, x))
                own = v.load_masked(builder, data, builder.add(here, x), mask)
                target = builder.add(there, x)
                before = v.load(builder, gradient, target)
                value[0] = builder.select(fresh, v.zero(), before)
                for i in range(block):
                    given = v.load(builder, upstream, builder.add(begins[i], x))
                    value[0] = v.multiply_add(builder, given, weights[i], value[0])
                    held[i] = v.multiply_add(builder, given, own, held[i])
                v.store_masked(builder, value[0], gradient, target, mask)
            for i in range(block):
                v.store(builder, held[i], total, kept[i])
            return context.get_dummy_value()

        return signature, generate

    return row


_row_1, _row_2, _row_full = (_make_row(block) for block in (1, 2, BLOCK))


@nb.njit(nogil=True, cache=True, boundscheck=False)
def run_head_gradient(seeds, seed_at, column, planes, grads, places, layout, area, out):  # type: ignore[no-untyped-def]
    """Gradient of one plane by the outputs of the head, and of its column of the matrix.

    Args:
        seeds: float32 buffer of the outputs' gradients, with zeros right of the pictures.
        seed_at: int64 offset of each of them, its pixel (0, 0).
        column: float32, the plane's factor in each output.
        planes: float32 buffer of activations.
        grads: float32 buffer of gradients; the plane's is written.
        places: offsets of the plane's pixel (0, 0) among the activations, among the gradients.
        layout: floats from one row to the next among ``seeds``, among the others; start
            (`START_FROM_BIAS` means zero).
        area: height and width.
        out: float64, one an output, added to.
    """
    here, there = places
    seed_stride, stride, start = layout
    height, width = area
    outputs = seed_at.size
    sums = np.zeros(outputs * LANES, np.float32)
    for y in range(height):
        k = 0
        while k < outputs:
            place = (
                k,
                y * seed_stride,
                here + y * stride,
                there + y * stride,
                start if k == 0 else START_FROM_PLANE,
                width,
            )
            if outputs - k >= BLOCK:
                _row_full(seeds, seed_at, column, planes, grads, sums, place)
                k += BLOCK
            elif outputs - k >= 2:
                _row_2(seeds, seed_at, column, planes, grads, sums, place)
                k += 2
            else:
                _row_1(seeds, seed_at, column, planes, grads, sums, place)
                k += 1
        if y % FLUSH == FLUSH - 1 or y == height - 1:
            for k in range(outputs):
                for lane in range(LANES):
                    out[k] += sums[k * LANES + lane]
            sums[:] = 0.0
