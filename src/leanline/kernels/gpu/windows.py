"""Steps with any window: convolutions, transposed convolutions, the largest value.

A program computes BLOCK pixels of one plane, for each tap of the window over all edges.
"""

import triton
import triton.language as tl

from leanline.kernels.gpu.indices import (
    COUNTS,
    gated,
    look,
    program_place,
    read_step,
    start_value,
)


@triton.jit(do_not_specialize=COUNTS)
def convolve(
    planes,
    out,
    gates,
    table,
    source,
    taps,
    bias,
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
    grown,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    ROW_STEP: tl.constexpr,
    COLUMN_STEP: tl.constexpr,
    PADDING: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Convolve the sources of each step and add them up."""
    tile, row, image = program_place(tiles, rows)
    step = read_step(table, row)
    target, first, last, taps_at, bias_at, keeps, gate, gate_at, row_gap, gap, above, before = step
    whole_width = out_width + 2 * grown
    count = (out_height + 2 * grown) * whole_width
    position = tile * BLOCK + tl.arange(0, BLOCK)
    lanes = position < count
    y = position // whole_width - grown
    x = position % whole_width - grown
    planes += image * planes_size
    out += image * out_size + target
    offset = y * out_stride + x
    acc = start_value(out, offset, lanes, position, count, keeps, tl.load(bias + bias_at))
    for i in range(ROWS):
        from_y = y * ROW_STEP - above + i * row_gap
        from_row, in_y = look(from_y, height, PADDING)
        for j in range(COLUMNS):
            from_x = x * COLUMN_STEP - before + j * gap
            from_column, in_x = look(from_x, width, PADDING)
            place, ok = from_row * stride + from_column, lanes & in_y & in_x
            w = taps + taps_at + i * COLUMNS + j
            for edge in range(first, last):
                at = planes + tl.load(source + edge)
                weight = tl.load(w + (edge - first) * (ROWS * COLUMNS))
                acc += weight * tl.load(at + place, mask=ok, other=0.0)
    gates += image * gates_size + gate_at
    acc = gated(acc, gates, y * gate_stride + x, lanes, position, count, gate)
    tl.store(out + offset, acc, mask=lanes)


@triton.jit
def _first_tap(value, gap, STEP: tl.constexpr, PERIOD: tl.constexpr, TAPS: tl.constexpr):
    """The first tap along one side that brings a source to a pixel; TAPS where none does."""
    found = value * 0 + TAPS
    for tap in range(PERIOD):
        found = tl.where((value - tap * gap) % STEP == 0, tap, found)
    return found


@triton.jit(do_not_specialize=COUNTS)
def spread(
    planes,
    out,
    gates,
    table,
    source,
    taps,
    bias,
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
    grown,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    ROW_STEP: tl.constexpr,
    COLUMN_STEP: tl.constexpr,
    ROW_PERIOD: tl.constexpr,
    COLUMN_PERIOD: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Transposed convolutions, as sums over those taps that meet a pixel."""
    tile, row, image = program_place(tiles, rows)
    step = read_step(table, row)
    target, first, last, taps_at, bias_at, keeps, gate, gate_at, row_gap, gap, above, before = step
    whole_width = out_width + 2 * grown
    count = (out_height + 2 * grown) * whole_width
    position = tile * BLOCK + tl.arange(0, BLOCK)
    lanes = position < count
    y = position // whole_width - grown
    x = position % whole_width - grown
    planes += image * planes_size
    out += image * out_size + target
    offset = y * out_stride + x
    acc = start_value(out, offset, lanes, position, count, keeps, tl.load(bias + bias_at))
    first_row = _first_tap(y + above, row_gap, ROW_STEP, ROW_PERIOD, ROWS)
    first_column = _first_tap(x + before, gap, COLUMN_STEP, COLUMN_PERIOD, COLUMNS)
    for i in range(0, ROWS, ROW_PERIOD):
        tap_row = first_row + i
        from_y = (y + above - tap_row * row_gap) // ROW_STEP
        in_y = lanes & (tap_row < ROWS) & (from_y >= 0) & (from_y < height)
        for j in range(0, COLUMNS, COLUMN_PERIOD):
            tap_column = first_column + j
            from_x = (x + before - tap_column * gap) // COLUMN_STEP
            ok = in_y & (tap_column < COLUMNS) & (from_x >= 0) & (from_x < width)
            place = from_y * stride + from_x
            tap = tap_row * COLUMNS + tap_column
            for edge in range(first, last):
                at = planes + tl.load(source + edge)
                w = taps + taps_at + (edge - first) * (ROWS * COLUMNS)
                weight = tl.load(w + tap, mask=ok, other=0.0)
                acc += weight * tl.load(at + place, mask=ok, other=0.0)
    gates += image * gates_size + gate_at
    acc = gated(acc, gates, y * gate_stride + x, lanes, position, count, gate)
    tl.store(out + offset, acc, mask=lanes)


@triton.jit(do_not_specialize=COUNTS)
def largest(
    planes,
    out,
    gates,
    table,
    source,
    taps,
    bias,
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
    grown,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    ROW_STEP: tl.constexpr,
    COLUMN_STEP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The largest value of each window of each step's only source; NaN is larger than all."""
    tile, row, image = program_place(tiles, rows)
    step = read_step(table, row)
    target, first, _, _, bias_at, _, gate, _, row_gap, gap, above, before = step
    count = out_height * out_width
    position = tile * BLOCK + tl.arange(0, BLOCK)
    lanes = position < count
    y = position // out_width
    x = position % out_width
    at = planes + image * planes_size + tl.load(source + first)
    best = tl.full([BLOCK], float("-inf"), tl.float32)
    for i in range(ROWS):
        from_y = y * ROW_STEP - above + i * row_gap
        in_y = lanes & (from_y >= 0) & (from_y < height)
        for j in range(COLUMNS):
            from_x = x * COLUMN_STEP - before + j * gap
            ok = in_y & (from_x >= 0) & (from_x < width)
            value = tl.load(at + from_y * stride + from_x, mask=ok, other=float("-inf"))
            best = tl.where((value > best) | (value != value), value, best)
    best += tl.load(bias + bias_at)
    out += image * out_size + target
    offset = y * out_stride + x
    best = gated(best, gates, offset, lanes, position, count * 0, gate)
    tl.store(out + offset, best, mask=lanes)
