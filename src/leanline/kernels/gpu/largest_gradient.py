"""The gradient of the largest value: it goes to the first largest pixel of each window."""

import triton
import triton.language as tl

from leanline.kernels.gpu.indices import (
    COUNTS,
    gated,
    program_place,
    read_step,
    start_value,
)


@triton.jit(do_not_specialize=COUNTS)
def winners(
    planes,
    out,
    table,
    source,
    tiles,
    rows,
    planes_size,
    out_size,
    height,
    width,
    stride,
    out_height,
    out_width,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    ROW_STEP: tl.constexpr,
    COLUMN_STEP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Number of the tap where each window is largest (int32, rows without gaps)."""
    tile, row, image = program_place(tiles, rows)
    step = read_step(table, row)
    target, first, _, _, _, _, _, _, row_gap, gap, above, before = step
    position = tile * BLOCK + tl.arange(0, BLOCK)
    lanes = position < out_height * out_width
    y = position // out_width
    x = position % out_width
    at = planes + image * planes_size + tl.load(source + first)
    best = tl.full([BLOCK], float("-inf"), tl.float32)
    winner = tl.zeros([BLOCK], tl.int32)
    for i in range(ROWS):
        from_y = y * ROW_STEP - above + i * row_gap
        in_y = lanes & (from_y >= 0) & (from_y < height)
        for j in range(COLUMNS):
            from_x = x * COLUMN_STEP - before + j * gap
            ok = in_y & (from_x >= 0) & (from_x < width)
            value = tl.load(at + from_y * stride + from_x, mask=ok, other=float("-inf"))
            better = (value > best) | (value != value)
            best = tl.where(better, value, best)
            winner = tl.where(better, i * COLUMNS + j, winner)
    tl.store(out + image * out_size + target + position, winner, mask=lanes)


@triton.jit(do_not_specialize=COUNTS)
def largest_gradient(
    planes,
    out,
    gates,
    table,
    source,
    winner,
    tiles,
    rows,
    planes_size,
    out_size,
    gates_size,
    height,
    width,
    stride,
    out_height,
    out_width,
    out_stride,
    gate_stride,
    winner_size,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    ROW_STEP: tl.constexpr,
    COLUMN_STEP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Add up, for each pixel, the gradients of the windows in which it won."""
    tile, row, image = program_place(tiles, rows)
    step = read_step(table, row)
    target, first, last, winner_at, _, keeps, gate, gate_at, row_gap, gap, above, before = step
    count = out_height * out_width
    position = tile * BLOCK + tl.arange(0, BLOCK)
    lanes = position < count
    y = position // out_width
    x = position % out_width
    planes += image * planes_size
    out += image * out_size + target
    winner += image * winner_size + winner_at
    offset = y * out_stride + x
    acc = start_value(out, offset, lanes, position, count, keeps, 0.0)
    for i in range(ROWS):
        low_y = y + above - i * row_gap
        from_y = low_y // ROW_STEP
        in_y = lanes & (low_y >= 0) & (low_y % ROW_STEP == 0) & (from_y < height)
        for j in range(COLUMNS):
            low_x = x + before - j * gap
            from_x = low_x // COLUMN_STEP
            ok = in_y & (low_x >= 0) & (low_x % COLUMN_STEP == 0) & (from_x < width)
            won = tl.load(winner + from_y * width + from_x, mask=ok, other=-1)
            ok = ok & (won == i * COLUMNS + j)
            for edge in range(first, last):
                at = planes + tl.load(source + edge)
                acc += tl.load(at + from_y * stride + from_x, mask=ok, other=0.0)
    gates += image * gates_size + gate_at
    acc = gated(acc, gates, y * gate_stride + x, lanes, position, count, gate)
    tl.store(out + offset, acc, mask=lanes)
