"""Dense 1x1 convolution over planes: several output planes at once, each source read once.

The final layer of an imaging network mixes all live planes into a few outputs. A tile holds some
outputs by `VECTORS` vectors in registers while it walks over the sources. It may start from what
the outputs hold, so that sources can be added up in groups, soon after they are computed.
"""

from typing import Any

import numba as nb
from numba.core import cgutils, types
from numba.extending import intrinsic

from leanline.kernels import vector as v
from leanline.kernels.conv3 import START_FROM_BIAS

VECTORS = 4 if v.LANES == 16 else 2
TILE = VECTORS * v.LANES
BLOCK = 5 if v.LANES == 16 else 3

_PLACE = 8


def _make_tile(block: int) -> Any:
    """Build the tile for ``block`` outputs."""

    @intrinsic  # type: ignore[untyped-decorator]
    def tile(typing_context, planes, source, matrix, bias, targets, out, place):  # type: ignore[no-untyped-def]
        whole = types.UniTuple(types.int64, _PLACE)
        signature = types.void(planes, source, matrix, bias, targets, out, whole)

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            data, sources, weights, shift, where, result = (
                context.make_array(sig.args[i])(context, builder, args[i]).data for i in range(6)
            )
            output, first, last, width, start, pixel, target_pixel, columns = (
                builder.extract_value(args[6], i) for i in range(_PLACE)
            )
            along = [v.int_constant(part * v.LANES) for part in range(VECTORS)]
            masks = [v.lane_mask(builder, builder.sub(columns, step)) for step in along]
            outputs = [builder.add(output, v.int_constant(i)) for i in range(block)]
            places = [
                builder.add(v.load_scalar(builder, where, one), target_pixel) for one in outputs
            ]
            sums = v.Registers(builder, block * VECTORS)
            fresh = builder.icmp_signed("==", start, v.int_constant(START_FROM_BIAS))
            with builder.if_else(fresh) as (then, otherwise):
                with then:
                    for i in range(block):
                        value = v.splat(builder, v.load_scalar(builder, shift, outputs[i]))
                        for part in range(VECTORS):
                            sums[i * VECTORS + part] = value
                with otherwise:
                    for i in range(block):
                        for part in range(VECTORS):
                            at = builder.add(places[i], along[part])
                            held = v.load_masked(builder, result, at, masks[part])
                            sums[i * VECTORS + part] = held
            rows = [builder.mul(one, width) for one in outputs]
            with cgutils.for_range_slice(builder, first, last, v.int_constant(1)) as (channel, _):
                at = builder.add(v.load_scalar(builder, sources, channel), pixel)
                pixels = [v.load(builder, data, builder.add(at, step)) for step in along]
                for i in range(block):
                    factor = v.splat(
                        builder, v.load_scalar(builder, weights, builder.add(rows[i], channel))
                    )
                    for part in range(VECTORS):
                        slot = i * VECTORS + part
                        sums[slot] = v.multiply_add(builder, pixels[part], factor, sums[slot])
            for i in range(block):
                values = [sums[i * VECTORS + part] for part in range(VECTORS)]
                v.store_columns(builder, values, result, places[i], columns, masks)
            return context.get_dummy_value()

        return signature, generate

    return tile


_tile_1, _tile_2, _tile_full = (_make_tile(block) for block in (1, 2, BLOCK))


@nb.njit(nogil=True, cache=True, boundscheck=False)
def run_pointwise(planes, source, matrix, bias, targets, out, columns, start, layout, area):  # type: ignore[no-untyped-def]
    """``out[k] = bias[k] + sum over c of matrix[k, c] * planes[c]``.

    Args:
        planes: float32 buffer of one image that holds the sources.
        source: int64 offset of each source plane, its pixel (0, 0).
        matrix: float32, outputs x sources, flat.
        bias: float32, one an output.
        targets: int64 offset of each output plane in ``out``, its pixel (0, 0).
        out: float32 buffer that is written (may be ``planes`` itself).
        columns: first column of the matrix, one past the last, and its width.
        start: `START_FROM_BIAS` or `START_FROM_PLANE`.
        layout: floats from one source row to the next, and from one output row to the next.
        area: first row, one past the last, number of columns.
    """
    first, last, width_of_matrix = columns
    stride, out_stride = layout
    top, bottom, width = area
    outputs = targets.size
    for y in range(top, bottom):
        for x in range(0, width, TILE):
            pixel = y * stride + x
            there = y * out_stride + x
            k = 0
            while k < outputs:
                place = (k, first, last, width_of_matrix, start, pixel, there, width - x)
                if outputs - k >= BLOCK:
                    _tile_full(planes, source, matrix, bias, targets, out, place)
                    k += BLOCK
                elif outputs - k >= 2:
                    _tile_2(planes, source, matrix, bias, targets, out, place)
                    k += 2
                else:
                    _tile_1(planes, source, matrix, bias, targets, out, place)
                    k += 1
