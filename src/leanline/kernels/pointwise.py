"""Dense 1x1 convolution over planes: several output planes at once, each source read once.

The final layer of an imaging network mixes all live planes into a few outputs. A tile holds
``block`` outputs by ``VECTORS`` vectors in registers while it walks over the sources.
"""

from typing import Any

import numba as nb
from numba.core import cgutils, types
from numba.extending import intrinsic

from leanline.kernels import vector as v

VECTORS = 4 if v.LANES == 16 else 2
TILE = VECTORS * v.LANES
BLOCK = 5 if v.LANES == 16 else 3


def _make_tile(block: int) -> Any:
    """Build the tile for ``block`` outputs."""

    @intrinsic  # type: ignore[untyped-decorator]
    def tile(
        typing_context,
        planes,
        source,
        matrix,
        bias,
        output,
        count,
        targets,
        out,
        pixel,
        target_pixel,
        columns,
    ):  # type: ignore[no-untyped-def]
        signature = types.void(
            planes, source, matrix, bias, types.int64, types.int64, targets, out, *[types.int64] * 3
        )

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            _, _, _, _, output, count, _, _, pixel, target_pixel, columns = args
            data, sources, weights, shift, where, result = (
                context.make_array(sig.args[i])(context, builder, args[i]).data
                for i in (0, 1, 2, 3, 6, 7)
            )
            along = [v.int_constant(part * v.LANES) for part in range(VECTORS)]
            outputs = [builder.add(output, v.int_constant(i)) for i in range(block)]
            sums = v.Registers(builder, block * VECTORS)
            for i in range(block):
                start = v.splat(builder, v.load_scalar(builder, shift, outputs[i]))
                for part in range(VECTORS):
                    sums[i * VECTORS + part] = start
            rows = [builder.mul(one, count) for one in outputs]
            with cgutils.for_range_slice(builder, v.int_constant(0), count, v.int_constant(1)) as (
                channel,
                _,
            ):
                at = builder.add(v.load_scalar(builder, sources, channel), pixel)
                pixels = [v.load(builder, data, builder.add(at, step)) for step in along]
                for i in range(block):
                    factor = v.splat(
                        builder, v.load_scalar(builder, weights, builder.add(rows[i], channel))
                    )
                    for part in range(VECTORS):
                        slot = i * VECTORS + part
                        sums[slot] = v.multiply_add(builder, pixels[part], factor, sums[slot])
            masks = [v.lane_mask(builder, builder.sub(columns, step)) for step in along]
            for i in range(block):
                at = builder.add(v.load_scalar(builder, where, outputs[i]), target_pixel)
                values = [sums[i * VECTORS + part] for part in range(VECTORS)]
                v.store_columns(builder, values, result, at, columns, masks)
            return context.get_dummy_value()

        return signature, generate

    return tile


_tile_1 = _make_tile(1)
_tile_2 = _make_tile(2)
_tile_full = _make_tile(BLOCK)


@nb.njit(nogil=True, cache=True, boundscheck=False)
def run_pointwise(
    planes,
    source,
    matrix,
    bias,
    origin,
    stride,
    targets,
    out,
    out_origin,
    out_stride,
    height,
    width,
):  # type: ignore[no-untyped-def]
    """``out[k] = bias[k] + sum over c of matrix[k, c] * planes[c]``.

    Args:
        planes: float32 buffer of one image that holds the sources.
        source: int64 offset of each source plane.
        matrix: float32, outputs x sources, flat.
        bias: float32, one an output.
        origin: offset of pixel (0, 0) inside a source plane.
        stride: floats from one source row to the next.
        targets: int64 offset of each output plane in ``out``.
        out: float32 buffer that is written (may be ``planes`` itself).
        out_origin: offset of pixel (0, 0) inside an output plane.
        out_stride: floats from one output row to the next.
        height: rows of the picture.
        width: columns of the picture.
    """
    count = source.size
    outputs = targets.size
    for y in range(height):
        for x in range(0, width, TILE):
            pixel = origin + y * stride + x
            target = out_origin + y * out_stride + x
            k = 0
            while k < outputs:
                if outputs - k >= BLOCK:
                    _tile_full(
                        planes,
                        source,
                        matrix,
                        bias,
                        k,
                        count,
                        targets,
                        out,
                        pixel,
                        target,
                        width - x,
                    )
                    k += BLOCK
                elif outputs - k >= 2:
                    _tile_2(
                        planes,
                        source,
                        matrix,
                        bias,
                        k,
                        count,
                        targets,
                        out,
                        pixel,
                        target,
                        width - x,
                    )
                    k += 2
                else:
                    _tile_1(
                        planes,
                        source,
                        matrix,
                        bias,
                        k,
                        count,
                        targets,
                        out,
                        pixel,
                        target,
                        width - x,
                    )
                    k += 1
