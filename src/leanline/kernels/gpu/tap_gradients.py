"""Gradients of taps: for each edge and tap, the product of two planes that are shifted.

One plane *stays*, the other is read where the window looks: for convolutions the target's gradient
stays and the source moves, for transposed ones it is the other way round. Programs add up a part of
the pixels each; their sums are added by PyTorch, in an order that never changes.
"""

import triton
import triton.language as tl

from leanline.kernels.gpu.convolve3 import columns_of, load_three, rows_of
from leanline.kernels.gpu.indices import COUNTS, look, program_place, read_step


@triton.jit(do_not_specialize=[*COUNTS, "each", "blocks"])
def tap_gradients(
    still,
    moving,
    sums,
    table,
    tiles,
    rows,
    each,
    blocks,
    still_size,
    moving_size,
    height,
    width,
    stride,
    moving_height,
    moving_width,
    moving_stride,
    parts,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    ROW_STEP: tl.constexpr,
    COLUMN_STEP: tl.constexpr,
    PADDING: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Any window; a program does one tap of one edge.

    ``sums`` has a row a tap, and a column for each of the ``parts`` of the pixels and images.
    """
    tile, row, image = program_place(tiles, rows)
    step = read_step(table, row // (ROWS * COLUMNS))
    still_at, moving_at, _, _, _, _, _, _, row_gap, gap, above, before = step
    tap = row % (ROWS * COLUMNS)
    down = tap // COLUMNS * row_gap - above
    along = tap % COLUMNS * gap - before
    still += image * still_size + still_at
    moving += image * moving_size + moving_at
    acc = tl.zeros([BLOCK], tl.float32)
    for block in range(tile * each, tl.minimum((tile + 1) * each, blocks)):
        position = block * BLOCK + tl.arange(0, BLOCK)
        lanes = position < height * width
        y = position // width
        x = position % width
        from_y, in_y = look(y * ROW_STEP + down, moving_height, PADDING)
        from_x, in_x = look(x * COLUMN_STEP + along, moving_width, PADDING)
        place, ok = from_y * moving_stride + from_x, lanes & in_y & in_x
        value = tl.load(still + y * stride + x, mask=lanes, other=0.0)
        acc += value * tl.load(moving + place, mask=ok, other=0.0)
    part = image * tiles + tile
    tl.store(sums + row.to(tl.int64) * parts + part, tl.sum(acc, 0))


@triton.jit(do_not_specialize=[*COUNTS, "each", "blocks"])
def tap_gradients3(
    still,
    moving,
    sums,
    table,
    tiles,
    rows,
    each,
    blocks,
    still_size,
    moving_size,
    height,
    width,
    stride,
    moving_height,
    moving_width,
    moving_stride,
    parts,
    PADDING: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """3x3 windows of stride 1: all nine taps of an edge; rows as in `convolve3`."""
    tile, row, image = program_place(tiles, rows)
    step = read_step(table, row)
    still_at, moving_at, _, _, _, _, _, _, gap, _, above, before = step
    still += image * still_size + still_at
    at = moving + image * moving_size + moving_at
    zero = tl.zeros([BLOCK], tl.float32)
    s00, s01, s02 = zero, zero, zero
    s10, s11, s12 = zero, zero, zero
    s20, s21, s22 = zero, zero, zero
    for block in range(tile * each, tl.minimum((tile + 1) * each, blocks)):
        position = block * BLOCK + tl.arange(0, BLOCK)
        four = position // width
        x = position % width
        y = (four // gap) * (4 * gap) + four % gap
        lanes = y < height
        x0, x1, x2, in0, in1, in2 = columns_of(x, lanes, gap, before, moving_width, PADDING)
        o = y * stride + x
        g0 = tl.load(still + o, mask=lanes, other=0.0)
        g1 = tl.load(still + o + gap * stride, mask=y + gap < height, other=0.0)
        g2 = tl.load(still + o + 2 * gap * stride, mask=y + 2 * gap < height, other=0.0)
        g3 = tl.load(still + o + 3 * gap * stride, mask=y + 3 * gap < height, other=0.0)
        rows6 = rows_of(y - above, gap, moving_height, moving_stride, PADDING)
        r0, r1, r2, r3, r4, r5, k0, k1, k2, k3, k4, k5 = rows6
        left, mid, right = load_three(at + r0, k0, x0, x1, x2, in0, in1, in2)
        s00, s01, s02 = s00 + g0 * left, s01 + g0 * mid, s02 + g0 * right
        left, mid, right = load_three(at + r1, k1, x0, x1, x2, in0, in1, in2)
        s10, s11, s12 = s10 + g0 * left, s11 + g0 * mid, s12 + g0 * right
        s00, s01, s02 = s00 + g1 * left, s01 + g1 * mid, s02 + g1 * right
        left, mid, right = load_three(at + r2, k2, x0, x1, x2, in0, in1, in2)
        s20, s21, s22 = s20 + g0 * left, s21 + g0 * mid, s22 + g0 * right
        s10, s11, s12 = s10 + g1 * left, s11 + g1 * mid, s12 + g1 * right
        s00, s01, s02 = s00 + g2 * left, s01 + g2 * mid, s02 + g2 * right
        left, mid, right = load_three(at + r3, k3, x0, x1, x2, in0, in1, in2)
        s20, s21, s22 = s20 + g1 * left, s21 + g1 * mid, s22 + g1 * right
        s10, s11, s12 = s10 + g2 * left, s11 + g2 * mid, s12 + g2 * right
        s00, s01, s02 = s00 + g3 * left, s01 + g3 * mid, s02 + g3 * right
        left, mid, right = load_three(at + r4, k4, x0, x1, x2, in0, in1, in2)
        s20, s21, s22 = s20 + g2 * left, s21 + g2 * mid, s22 + g2 * right
        s10, s11, s12 = s10 + g3 * left, s11 + g3 * mid, s12 + g3 * right
        left, mid, right = load_three(at + r5, k5, x0, x1, x2, in0, in1, in2)
        s20, s21, s22 = s20 + g3 * left, s21 + g3 * mid, s22 + g3 * right
    where = sums + row.to(tl.int64) * 9 * parts + image * tiles + tile
    tl.store(where, tl.sum(s00, 0))
    tl.store(where + parts, tl.sum(s01, 0))
    tl.store(where + 2 * parts, tl.sum(s02, 0))
    tl.store(where + 3 * parts, tl.sum(s10, 0))
    tl.store(where + 4 * parts, tl.sum(s11, 0))
    tl.store(where + 5 * parts, tl.sum(s12, 0))
    tl.store(where + 6 * parts, tl.sum(s20, 0))
    tl.store(where + 7 * parts, tl.sum(s21, 0))
    tl.store(where + 8 * parts, tl.sum(s22, 0))
