"""Sum of a plane's pixels: the gradient of a bias.

Sums run in float32 vectors along a row and in float64 from row to row.
"""

from typing import Any

import numba as nb
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from leanline.kernels import vector as v

LANES = v.LANES
ROWS = 4


@intrinsic  # type: ignore[untyped-decorator]
def _add_rows(typing_context, planes, pixel, stride, rows, columns, sums):  # type: ignore[no-untyped-def]
    """Add up to `ROWS` rows to the vector ``sums``."""
    signature = types.void(planes, *[types.int64] * 4, sums)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _, pixel, stride, rows, columns, _ = args
        data, total = (
            context.make_array(sig.args[i])(context, builder, args[i]).data for i in (0, 5)
        )
        held = v.Registers(builder, ROWS)
        starts = [
            builder.add(pixel, builder.mul(stride, v.int_constant(row))) for row in range(ROWS)
        ]
        valid = [builder.icmp_signed(">", rows, v.int_constant(row)) for row in range(ROWS)]
        for row in range(ROWS):
            held[row] = v.zero()
        with cgutils.for_range_slice(
            builder, v.int_constant(0), columns, v.int_constant(LANES)
        ) as (x, _):
            for row in range(ROWS):
                pixels = v.load(builder, data, builder.add(starts[row], x))
                pixels = builder.select(valid[row], pixels, v.zero())
                held[row] = builder.fadd(held[row], pixels)
        result = v.load(builder, total, v.int_constant(0))
        for row in range(ROWS):
            result = builder.fadd(result, held[row])
        everywhere = ir.Constant(v.MASK, [True] * LANES)
        v.store_masked(builder, result, total, v.int_constant(0), everywhere)
        return context.get_dummy_value()

    return signature, generate


@nb.njit(nogil=True, cache=True, boundscheck=False)
def plane_sum(planes, plane, stride, height, width):  # type: ignore[no-untyped-def]
    """Sum of one plane's pixels; there must be zeros right of the picture."""
    total = 0.0
    sums = np.zeros(LANES, np.float32)
    for y in range(0, height, ROWS):
        _add_rows(planes, plane + y * stride, stride, height - y, width, sums)
        if y % 16 == 16 - ROWS or y + ROWS >= height:
            for lane in range(LANES):
                total += sums[lane]
            sums[:] = 0.0
    return total
