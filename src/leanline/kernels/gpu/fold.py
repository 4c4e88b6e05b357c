"""The gradient of a filled border, added to the pixels that it was filled from."""

import triton
import triton.language as tl

from leanline.kernels.gpu.indices import COUNTS, look, program_place, read_step


@triton.jit(do_not_specialize=COUNTS)
def fold(
    out,
    table,
    tiles,
    rows,
    out_size,
    lanes_first,
    lanes_count,
    lanes_stride,
    size,
    stride,
    border,
    PADDING: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Fold the two ends of many lines inwards.

    Lines are side by side (``lanes_stride`` apart, the first at ``lanes_first``); along a line
    pixels are ``stride`` apart, ``size`` of them, with ``border`` more at both ends.
    """
    tile, row, image = program_place(tiles, rows)
    target = read_step(table, row)[0]
    lane = tile * BLOCK + tl.arange(0, BLOCK)
    lanes = lane < lanes_count
    line = out + image * out_size + target + (lanes_first + lane) * lanes_stride
    for distance in range(1, border + 1):
        for side in range(2):
            outside = -distance + side * (size - 1 + 2 * distance)
            inside = line + look(outside, size, PADDING)[0] * stride
            value = tl.load(line + outside * stride, mask=lanes, other=0.0)
            value += tl.load(inside, mask=lanes, other=0.0)
            tl.store(inside, value, mask=lanes)
            tl.debug_barrier()  # the next round may read what was written here
