"""Sparse 3x3 convolution of stride 1 over planes, the kernel that has to be fast.

A *step* computes one plane: it starts from a bias or from what the plane holds, adds the 3x3
convolutions of a list of source planes that share a dilation, and may end with a ReLU gate. Output
rows that are one dilation apart share their input rows: a tile of 4 output rows needs 6 input
rows, 18 loads for 36 multiply-adds. Where rows are long, edges are taken a few at a time, so that
the rows that they read stay in the first-level cache.

There are several shapes of tiles; which is the fastest depends on the width of the planes, on the
number of edges and on the processor's registers.
"""

from typing import Any

import numba as nb
from numba.core import cgutils, types
from numba.extending import intrinsic

from leanline.kernels import vector as v

START_FROM_PLANE, START_FROM_BIAS = 0, 1
GATE_NONE, GATE_SELF, GATE_OTHER = 0, 1, 2
"""What a step ends with: nothing, its own ReLU, or the ReLU gate of a stored activation."""

SHAPES = ((4, 4), (4, 2), (8, 1))
"""Tiles by number: output rows, and vectors side by side."""

_PLACE = 15  # numbers that say where a tile is


def _data(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    return context.make_array(kind)(context, builder, value).data


def _make_tile(rows_in_tile: int, vectors: int) -> Any:
    """Build the tile of a shape."""

    @intrinsic  # type: ignore[untyped-decorator]
    def tile(typing_context, planes, source, taps, out, gates, bias, place):  # type: ignore[no-untyped-def]
        """Compute one tile of one plane; ``place`` holds the numbers that are named below."""
        whole = types.UniTuple(types.int64, _PLACE)
        signature = types.void(planes, source, taps, out, gates, types.float32, whole)

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            (first, last, tap, pixel, row_step, dilation, target, target_step) = (
                builder.extract_value(args[6], i) for i in range(8)
            )
            (start, gate, gate_at, rows, columns, ahead, end) = (
                builder.extract_value(args[6], i) for i in range(8, _PLACE)
            )
            bias = args[5]
            data, sources, weights, result, gate_data = (
                _data(context, builder, sig.args[i], args[i]) for i in range(5)
            )
            sums = v.Registers(builder, rows_in_tile * vectors)
            offsets = [
                builder.mul(row_step, v.int_constant(row)) for row in range(-1, rows_in_tile + 1)
            ]
            places = [builder.mul(target_step, v.int_constant(row)) for row in range(rows_in_tile)]
            along = [v.int_constant(part * v.LANES) for part in range(vectors)]
            shifts = [builder.mul(dilation, v.int_constant(column)) for column in (-1, 0, 1)]

            fresh = builder.icmp_signed("==", start, v.int_constant(START_FROM_BIAS))
            with builder.if_else(fresh) as (then, otherwise):
                with then:
                    for index in range(len(sums)):
                        sums[index] = v.splat(builder, bias)
                with otherwise:
                    for row in range(rows_in_tile):
                        at = builder.add(target, places[row])
                        for part in range(vectors):
                            where = builder.add(at, along[part])
                            sums[row * vectors + part] = v.load(builder, result, where)

            with cgutils.for_range_slice(builder, first, last, v.int_constant(1)) as (edge, _):
                begin_tap = builder.add(
                    tap, builder.mul(builder.sub(edge, first), v.int_constant(9))
                )
                factors = [
                    v.splat(
                        builder,
                        v.load_scalar(builder, weights, builder.add(begin_tap, v.int_constant(i))),
                    )
                    for i in range(9)
                ]
                base = builder.add(v.load_scalar(builder, sources, edge), pixel)
                later = builder.add(edge, ahead)
                there = builder.icmp_signed("<", later, end)
                wanted = builder.icmp_signed(">", ahead, v.int_constant(0))
                with builder.if_then(builder.and_(wanted, there)):
                    soon = builder.add(v.load_scalar(builder, sources, later), pixel)
                    for offset in offsets:
                        for step in along:
                            at = builder.add(builder.add(soon, offset), step)
                            v.prefetch(builder, data, at)
                for row in range(-1, rows_in_tile + 1):
                    at = builder.add(base, offsets[row + 1])
                    for column in range(3):
                        begin = builder.add(at, shifts[column])
                        for part in range(vectors):
                            pixels = v.load(builder, data, builder.add(begin, along[part]))
                            for below in range(max(0, row - 1), min(rows_in_tile, row + 2)):
                                factor = factors[3 * (row - below + 1) + column]
                                slot = below * vectors + part
                                sums[slot] = v.multiply_add(builder, pixels, factor, sums[slot])

            masks = [v.lane_mask(builder, builder.sub(columns, step)) for step in along]
            own = builder.icmp_signed("==", gate, v.int_constant(GATE_SELF))
            with builder.if_then(own):
                for index in range(len(sums)):
                    sums[index] = v.keep_positive(builder, sums[index], sums[index])
            other = builder.icmp_signed("==", gate, v.int_constant(GATE_OTHER))
            with builder.if_then(other):
                for row in range(rows_in_tile):
                    for part in range(vectors):
                        where = builder.add(builder.add(gate_at, places[row]), along[part])
                        held = v.load(builder, gate_data, where)
                        slot = row * vectors + part
                        sums[slot] = v.keep_positive(builder, sums[slot], held)
            for row in range(rows_in_tile):
                with builder.if_then(builder.icmp_signed(">", rows, v.int_constant(row))):
                    values = [sums[row * vectors + part] for part in range(vectors)]
                    at = builder.add(target, places[row])
                    v.store_columns(builder, values, result, at, columns, masks)
            return context.get_dummy_value()

        return signature, generate

    return tile


_tile_0, _tile_1, _tile_2 = (_make_tile(*shape) for shape in SHAPES)
_HEIGHTS = tuple(rows for rows, _ in SHAPES)
_WIDTHS = tuple(vectors * v.LANES for _, vectors in SHAPES)


@nb.njit(nogil=True, cache=True)
def usual_shape(width):  # type: ignore[no-untyped-def]
    """Number of the tile's shape that suits planes of a width, where none was measured."""
    if width <= _WIDTHS[2]:
        return 2
    return 1 if width <= _WIDTHS[1] or v.LANES < 16 else 0


@nb.njit(nogil=True, cache=True, boundscheck=False)
def run_conv3(planes, source, taps, out, gates, bias, edges, window, layout, area):  # type: ignore[no-untyped-def]
    """Compute one plane, or a part of it.

    Args:
        planes: float32 buffer of one image that holds the sources.
        source: int64 offset of each edge's source plane, its pixel (0, 0), in ``planes``.
        taps: float32, 9 an edge, row by row.
        out: float32 buffer that is written.
        gates: float32 buffer that is read for `GATE_OTHER`, laid out as ``out``.
        bias: value to start from.
        edges: first edge, one past the last edge, where the first edge's taps begin.
        window: number of the tile's shape, edges at a time, how many edges ahead rows are called
            into the cache, dilation, start (`START_FROM_BIAS`, `START_FROM_PLANE`), gate
            (`GATE_NONE`, `GATE_SELF`, `GATE_OTHER`).
        layout: offset of the centre tap for output pixel (0, 0) from a source's pixel (0, 0);
            floats from one source row to the next; offset of the output's pixel (0, 0) in ``out``;
            floats from one of its rows to the next; offset of pixel (0, 0) in ``gates``.
        area: first row, one past the last, first column, one past the last.
    """
    first, last, tap = edges
    shape, together, ahead, dilation, start, gate = window
    centre, stride, target, target_stride, gate_at = layout
    top, bottom, left, right = area
    tile_rows, tile_columns = _HEIGHTS[shape], _WIDTHS[shape]
    group = together if right - left > tile_columns else max(last - first, 1)
    for strip in range(top, bottom, tile_rows * dilation):
        for y in range(strip, min(strip + dilation, bottom)):
            rows = min(tile_rows, (bottom - 1 - y) // dilation + 1)
            begin = first
            while True:
                end = min(begin + group, last)
                head = start if begin == first else START_FROM_PLANE
                tail = gate if end == last else GATE_NONE
                for x in range(left, right, tile_columns):
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
                        head,
                        tail,
                        gate_at + there,
                        rows,
                        right - x,
                        ahead,
                        last,
                    )
                    if shape == 0:
                        _tile_0(planes, source, taps, out, gates, bias, place)
                    elif shape == 1:
                        _tile_1(planes, source, taps, out, gates, bias, place)
                    else:
                        _tile_2(planes, source, taps, out, gates, bias, place)
                begin = end
                if begin >= last:
                    break
