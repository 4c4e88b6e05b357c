"""Sums over the pixels of planes: gradients of biases and of a dense 1x1 layer.

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
BLOCK = 4
ROWS = 4


def _make_products(block: int) -> Any:
    """Build the row kernel for ``block`` gradient planes against one source plane."""

    @intrinsic  # type: ignore[untyped-decorator]
    def row_products(
        typing_context, planes, source, grads, targets, first, pixel, columns, sums, slot
    ):  # type: ignore[no-untyped-def]
        """Add the products of one row to ``sums[slot:]``, a vector a gradient plane."""
        signature = types.void(
            planes,
            types.int64,
            grads,
            targets,
            types.int64,
            types.int64,
            types.int64,
            sums,
            types.int64,
        )

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            _, source, _, _, first, pixel, columns, _, slot = args
            data, gradient, where, total = (
                context.make_array(sig.args[i])(context, builder, args[i]).data
                for i in (0, 2, 3, 7)
            )
            held = v.Registers(builder, block)
            places = [builder.add(slot, v.int_constant(i * LANES)) for i in range(block)]
            starts = [
                builder.add(
                    pixel, v.load_scalar(builder, where, builder.add(first, v.int_constant(i)))
                )
                for i in range(block)
            ]
            begin = builder.add(source, pixel)
            for i in range(block):
                held[i] = v.load(builder, total, places[i])
            with cgutils.for_range_slice(
                builder, v.int_constant(0), columns, v.int_constant(LANES)
            ) as (x, _):
                pixels = v.load(builder, data, builder.add(begin, x))
                for i in range(block):
                    factor = v.load(builder, gradient, builder.add(starts[i], x))
                    held[i] = v.multiply_add(builder, pixels, factor, held[i])
            everywhere = ir.Constant(v.MASK, [True] * LANES)
            for i in range(block):
                v.store_masked(builder, held[i], total, places[i], everywhere)
            return context.get_dummy_value()

        return signature, generate

    return row_products


_products_1 = _make_products(1)
_products_full = _make_products(BLOCK)


@nb.njit(nogil=True, cache=True, boundscheck=False)
def matrix_gradients(planes, source, grads, targets, stride, height, width, out):  # type: ignore[no-untyped-def]
    """``out[k, c] += <gradient plane k, source plane c>``.

    Args:
        planes: float32 buffer of activations of one image.
        source: int64 offset of each source plane, its pixel (0, 0).
        grads: float32 buffer of gradients laid out alike, with zeros right of the pictures.
        targets: int64 offset of each gradient plane in ``grads``, its pixel (0, 0).
        stride: floats from one row to the next.
        height: rows of the picture.
        width: columns of the picture.
        out: float64, gradient planes x source planes, added to in place.
    """
    outputs, count = targets.size, source.size
    sums = np.zeros((count, outputs, LANES), np.float32)
    flat = sums.reshape(-1)
    for y in range(height):
        pixel = y * stride
        for c in range(count):
            k = 0
            while k < outputs:
                slot = (c * outputs + k) * LANES
                if outputs - k >= BLOCK:
                    _products_full(planes, source[c], grads, targets, k, pixel, width, flat, slot)
                    k += BLOCK
                else:
                    _products_1(planes, source[c], grads, targets, k, pixel, width, flat, slot)
                    k += 1
        if y % 16 == 15 or y == height - 1:
            for c in range(count):
                for k in range(outputs):
                    for lane in range(LANES):
                        out[k, c] += sums[c, k, lane]
            sums[:] = 0.0


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
