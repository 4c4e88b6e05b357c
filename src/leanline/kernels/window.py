"""Convolutions of any window and stride, and the largest value of a window, with vectors.

A tile is one row of `VECTORS` vectors. Where the stride along a row is 2, two vectors are loaded
and every other lane is taken; where it is larger, lanes are gathered.
"""

from typing import Any

import numba as nb
from numba.core import cgutils, types
from numba.extending import intrinsic

from leanline.kernels import vector as v
from leanline.kernels.conv3 import GATE_OTHER, GATE_SELF, START_FROM_BIAS

VECTORS = 4
TILE = VECTORS * v.LANES

_PLACE = 14


def _make_tile(step: int, largest: bool) -> Any:
    """Build the tile for a stride (0: any), adding up products or taking the largest value."""

    @intrinsic  # type: ignore[untyped-decorator]
    def tile(typing_context, planes, source, taps, out, gates, bias, place):  # type: ignore[no-untyped-def]
        whole = types.UniTuple(types.int64, _PLACE)
        signature = types.void(planes, source, taps, out, gates, types.float32, whole)

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            data, sources, weights, result, gate_data = (
                context.make_array(sig.args[i])(context, builder, args[i]).data for i in range(5)
            )
            (first, last, tap, pixel, row_gap, rows, columns) = (
                builder.extract_value(args[6], i) for i in range(7)
            )
            (gap, column_step, target, start, gate, gate_at, width) = (
                builder.extract_value(args[6], i) for i in range(7, _PLACE)
            )
            along = [v.int_constant(part * v.LANES) for part in range(VECTORS)]
            there = [builder.mul(column_step, one) for one in along]
            sums = v.Registers(builder, VECTORS)

            if largest:
                for part in range(VECTORS):
                    sums[part] = v.lowest()
            else:
                fresh = builder.icmp_signed("==", start, v.int_constant(START_FROM_BIAS))
                with builder.if_else(fresh) as (then, otherwise):
                    with then:
                        for part in range(VECTORS):
                            sums[part] = v.splat(builder, args[5])
                    with otherwise:
                        for part in range(VECTORS):
                            where = builder.add(target, along[part])
                            sums[part] = v.load(builder, result, where)

            zero, one = v.int_constant(0), v.int_constant(1)
            with cgutils.for_range_slice(builder, first, last, one) as (edge, _):
                base = builder.add(v.load_scalar(builder, sources, edge), pixel)
                place_in_taps = builder.add(
                    tap, builder.mul(builder.sub(edge, first), builder.mul(rows, columns))
                )
                with cgutils.for_range_slice(builder, zero, rows, one) as (row, _):
                    line = builder.add(base, builder.mul(row, row_gap))
                    line_taps = builder.add(place_in_taps, builder.mul(row, columns))
                    with cgutils.for_range_slice(builder, zero, columns, one) as (column, _):
                        at = builder.add(line, builder.mul(column, gap))
                        if not largest:
                            factor = v.splat(
                                builder,
                                v.load_scalar(builder, weights, builder.add(line_taps, column)),
                            )
                        for part in range(VECTORS):
                            begin = builder.add(at, there[part])
                            pixels = v.load_every(builder, data, begin, step, column_step)
                            if largest:
                                sums[part] = v.larger(builder, pixels, sums[part])
                            else:
                                sums[part] = v.multiply_add(builder, pixels, factor, sums[part])

            if largest:
                for part in range(VECTORS):
                    sums[part] = builder.fadd(sums[part], v.splat(builder, args[5]))
            own = builder.icmp_signed("==", gate, v.int_constant(GATE_SELF))
            with builder.if_then(own):
                for part in range(VECTORS):
                    sums[part] = v.keep_positive(builder, sums[part], sums[part])
            other = builder.icmp_signed("==", gate, v.int_constant(GATE_OTHER))
            with builder.if_then(other):
                for part in range(VECTORS):
                    held = v.load(builder, gate_data, builder.add(gate_at, along[part]))
                    sums[part] = v.keep_positive(builder, sums[part], held)
            masks = [v.lane_mask(builder, builder.sub(width, step_)) for step_ in along]
            values = [sums[part] for part in range(VECTORS)]
            v.store_columns(builder, values, result, target, width, masks)
            return context.get_dummy_value()

        return signature, generate

    return tile


_sum_1, _sum_2, _sum_any = (_make_tile(step, False) for step in (1, 2, 0))
_largest_1, _largest_2, _largest_any = (_make_tile(step, True) for step in (1, 2, 0))


@nb.njit(nogil=True, cache=True, boundscheck=False)
def run_window(planes, source, taps, out, gates, bias, edges, window, layout, area, largest):  # type: ignore[no-untyped-def]
    """Compute one plane, or a part of it.

    Args:
        planes: float32 buffer of one image that holds the sources.
        source: int64 offset of each edge's source plane, its pixel (0, 0), in ``planes``.
        taps: float32, row by row for each edge; not read for the largest value.
        out: float32 buffer that is written.
        gates: float32 buffer that is read for `GATE_OTHER`, laid out as ``out``.
        bias: value to start from; it is added to the largest value.
        edges: first edge, one past the last edge, where the first edge's taps begin.
        window: rows, columns, row step, column step, row dilation, column dilation, start, gate.
        layout: offset of the first tap for output pixel (0, 0) from a source's pixel (0, 0);
            floats from one source row to the next; offset of the output's pixel (0, 0) in ``out``;
            floats from one of its rows to the next; offset of pixel (0, 0) in ``gates``.
        area: first row, one past the last, first column, one past the last.
        largest: take the largest value in place of the sum.
    """
    first, last, tap = edges
    rows, columns, row_step, column_step, row_dilation, gap, start, gate = window
    corner, stride, target, target_stride, gate_at = layout
    top, bottom, left, right = area
    for y in range(top, bottom):
        for x in range(left, right, TILE):
            there = y * target_stride + x
            place = (
                first,
                last,
                tap,
                corner + y * row_step * stride + x * column_step,
                row_dilation * stride,
                rows,
                columns,
                gap,
                column_step,
                target + there,
                start,
                gate,
                gate_at + there,
                right - x,
            )
            if largest:
                if column_step == 1:
                    _largest_1(planes, source, taps, out, gates, bias, place)
                elif column_step == 2:
                    _largest_2(planes, source, taps, out, gates, bias, place)
                else:
                    _largest_any(planes, source, taps, out, gates, bias, place)
            elif column_step == 1:
                _sum_1(planes, source, taps, out, gates, bias, place)
            elif column_step == 2:
                _sum_2(planes, source, taps, out, gates, bias, place)
            else:
                _sum_any(planes, source, taps, out, gates, bias, place)
