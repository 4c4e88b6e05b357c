"""Sparse 3x3 convolution over planes: one kernel for the forward pass and the data gradient.

A *segment* computes one plane: it starts from a bias or from what the plane holds, adds the
3x3 convolutions of a list of source planes that share a dilation, and may end with a ReLU gate.
Output rows that are one dilation apart share their input rows: a tile of ``ROWS`` output rows
needs ``ROWS + 2`` input rows, so that 4 rows take 18 loads for 36 multiply-adds. Edges are taken
in groups of ``GROUP``, so that the rows that a group reads stay in the first-level cache.

The data gradient of a plane is a segment too (mirrored taps, consumers as sources); the gradient
of the taps is a kernel of its own, `tap_gradients`.
"""

from typing import Any

import numba as nb
from numba.core import cgutils, types
from numba.extending import intrinsic

from leanline.kernels import vector as v

ROWS = 4
VECTORS = 4
TILE = VECTORS * v.LANES
GROUP = 4
START_FROM_PLANE, START_FROM_BIAS = 0, 1
GATE_NONE, GATE_SELF, GATE_OTHER = 0, 1, 2
"""What a segment ends with: nothing, its own ReLU, or the ReLU gate of a stored activation."""


def _data(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    return context.make_array(kind)(context, builder, value).data


@intrinsic  # type: ignore[untyped-decorator]
def _tile(
    typing_context,
    planes,
    source,
    taps,
    first,
    last,
    pixel,
    stride,
    dilation,
    target,
    start,
    bias,
    gate,
    gates,
    gate_at,
    rows,
    columns,
):  # type: ignore[no-untyped-def]
    """Compute ROWS x TILE pixels of one plane; store ``rows`` rows and ``columns`` columns."""
    signature = types.void(
        planes,
        source,
        taps,
        *[types.int64] * 7,
        types.float32,
        types.int64,
        gates,
        *[types.int64] * 3,
    )

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        (
            _,
            _,
            _,
            first,
            last,
            pixel,
            stride,
            dilation,
            target,
            start,
            bias,
            gate,
            _,
            gate_at,
            rows,
            columns,
        ) = args
        data = _data(context, builder, sig.args[0], args[0])
        sources = _data(context, builder, sig.args[1], args[1])
        weights = _data(context, builder, sig.args[2], args[2])
        gate_data = _data(context, builder, sig.args[12], args[12])
        sums = v.Registers(builder, ROWS * VECTORS)
        row_step = builder.mul(stride, dilation)
        offsets = [builder.mul(row_step, v.int_constant(row)) for row in range(-1, ROWS + 1)]
        along = [v.int_constant(part * v.LANES) for part in range(VECTORS)]
        shifts = [builder.mul(dilation, v.int_constant(column)) for column in (-1, 0, 1)]

        fresh = builder.icmp_signed("==", start, v.int_constant(START_FROM_BIAS))
        with builder.if_else(fresh) as (then, otherwise):
            with then:
                for index in range(len(sums)):
                    sums[index] = v.splat(builder, bias)
            with otherwise:
                for row in range(ROWS):
                    at = builder.add(target, offsets[row + 1])
                    for part in range(VECTORS):
                        where = builder.add(at, along[part])
                        sums[row * VECTORS + part] = v.load(builder, data, where)

        with cgutils.for_range_slice(builder, first, last, v.int_constant(1)) as (edge, _):
            tap = builder.mul(edge, v.int_constant(9))
            factors = [
                v.splat(
                    builder, v.load_scalar(builder, weights, builder.add(tap, v.int_constant(i)))
                )
                for i in range(9)
            ]
            base = builder.add(v.load_scalar(builder, sources, edge), pixel)
            for row in range(-1, ROWS + 1):
                at = builder.add(base, offsets[row + 1])
                for column in range(3):
                    begin = builder.add(at, shifts[column])
                    for part in range(VECTORS):
                        pixels = v.load(builder, data, builder.add(begin, along[part]))
                        for out in range(max(0, row - 1), min(ROWS, row + 2)):
                            factor = factors[3 * (row - out + 1) + column]
                            slot = out * VECTORS + part
                            sums[slot] = v.multiply_add(builder, pixels, factor, sums[slot])

        masks = [v.lane_mask(builder, builder.sub(columns, step)) for step in along]
        own = builder.icmp_signed("==", gate, v.int_constant(GATE_SELF))
        with builder.if_then(own):
            for index in range(len(sums)):
                sums[index] = v.keep_positive(builder, sums[index], sums[index])
        other = builder.icmp_signed("==", gate, v.int_constant(GATE_OTHER))
        with builder.if_then(other):
            for row in range(ROWS):
                for part in range(VECTORS):
                    where = builder.add(builder.add(gate_at, offsets[row + 1]), along[part])
                    held = v.load(builder, gate_data, where)
                    slot = row * VECTORS + part
                    sums[slot] = v.keep_positive(builder, sums[slot], held)
        for row in range(ROWS):
            with builder.if_then(builder.icmp_signed(">", rows, v.int_constant(row))):
                values = [sums[row * VECTORS + part] for part in range(VECTORS)]
                at = builder.add(target, offsets[row + 1])
                v.store_columns(builder, values, data, at, columns, masks)
        return context.get_dummy_value()

    return signature, generate


@nb.njit(nogil=True, cache=True, boundscheck=False)
def run_segment(
    planes,
    source,
    taps,
    first,
    last,
    dilation,
    target,
    start,
    bias,
    gate,
    gates,
    gate_plane,
    origin,
    stride,
    top,
    bottom,
    left,
    right,
):  # type: ignore[no-untyped-def]
    """Compute one plane on rows ``top..bottom`` and columns ``left..right`` (ends excluded).

    Args:
        planes: float32 buffer of one image that holds all its planes.
        source: int64 offset of each edge's source plane in ``planes``.
        taps: float32, 9 an edge, row by row.
        first: first edge of the segment.
        last: one past the last edge.
        dilation: step between taps in pixels.
        target: offset of the plane that is written.
        start: `START_FROM_BIAS` or `START_FROM_PLANE`.
        bias: value to start from.
        gate: `GATE_NONE`, `GATE_SELF` or `GATE_OTHER`.
        gates: buffer with planes of the same shape, read for `GATE_OTHER`.
        gate_plane: offset of the plane in ``gates``.
        origin: offset of pixel (0, 0) inside a plane.
        stride: floats from one row to the next.
        top: first row.
        bottom: one past the last row.
        left: first column.
        right: one past the last column.
    """
    block = ROWS * dilation
    for strip in range(top, bottom, block):
        for y in range(strip, min(strip + dilation, bottom)):
            rows = min(ROWS, (bottom - 1 - y) // dilation + 1)
            begin = first
            while True:
                end = min(begin + GROUP, last)
                head = start if begin == first else START_FROM_PLANE
                tail = gate if end == last else GATE_NONE
                for x in range(left, right, TILE):
                    pixel = origin + y * stride + x
                    _tile(
                        planes,
                        source,
                        taps,
                        begin,
                        end,
                        pixel,
                        stride,
                        dilation,
                        target + pixel,
                        head,
                        bias,
                        tail,
                        gates,
                        gate_plane + pixel,
                        rows,
                        right - x,
                    )
                begin = end
                if begin >= last:
                    break
