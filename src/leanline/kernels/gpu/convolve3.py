"""Sparse 3x3 convolution of stride 1, the kernel that has to be fast.

Output rows that are one dilation apart share their input rows: four of them need six, 18 loads for
36 multiply-adds.
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


@triton.jit
def rows_of(y, gap, height, stride, PADDING: tl.constexpr):
    """Where the six rows from ``y`` on begin, and which of them can be read."""
    r0, k0 = look(y, height, PADDING)
    r1, k1 = look(y + gap, height, PADDING)
    r2, k2 = look(y + 2 * gap, height, PADDING)
    r3, k3 = look(y + 3 * gap, height, PADDING)
    r4, k4 = look(y + 4 * gap, height, PADDING)
    r5, k5 = look(y + 5 * gap, height, PADDING)
    r0, r1, r2 = r0 * stride, r1 * stride, r2 * stride
    r3, r4, r5 = r3 * stride, r4 * stride, r5 * stride
    return r0, r1, r2, r3, r4, r5, k0, k1, k2, k3, k4, k5


@triton.jit
def columns_of(x, lanes, gap, before, width, PADDING: tl.constexpr):
    """Where the three columns of the window are, and which of them can be read."""
    x0, in0 = look(x - before, width, PADDING)
    x1, in1 = look(x - before + gap, width, PADDING)
    x2, in2 = look(x - before + 2 * gap, width, PADDING)
    return x0, x1, x2, lanes & in0, lanes & in1, lanes & in2


@triton.jit
def load_three(row, ok, x0, x1, x2, in0, in1, in2):
    """Three columns of a row."""
    return (
        tl.load(row + x0, mask=ok & in0, other=0.0),
        tl.load(row + x1, mask=ok & in1, other=0.0),
        tl.load(row + x2, mask=ok & in2, other=0.0),
    )


@triton.jit(do_not_specialize=COUNTS)
def convolve3(
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
    PADDING: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Compute planes; a program computes four rows, a dilation apart, of BLOCK columns."""
    tile, row, image = program_place(tiles, rows)
    step = read_step(table, row)
    target, first, last, taps_at, bias_at, keeps, gate, gate_at, gap, _, above, before = step
    whole_width = out_width + 2 * grown
    whole_height = out_height + 2 * grown
    position = tile * BLOCK + tl.arange(0, BLOCK)
    four = position // whole_width
    x = position % whole_width - grown
    y = (four // gap) * (4 * gap) + four % gap  # counted from the grown picture's first row
    lanes = y < whole_height
    x0, x1, x2, in0, in1, in2 = columns_of(x, lanes, gap, before, width, PADDING)
    planes += image * planes_size
    out += image * out_size + target
    gates += image * gates_size + gate_at
    begin = tl.load(bias + bias_at)
    y1, y2, y3 = y + gap, y + 2 * gap, y + 3 * gap
    o0 = (y - grown) * out_stride + x
    o1, o2, o3 = o0 + gap * out_stride, o0 + 2 * gap * out_stride, o0 + 3 * gap * out_stride
    a0 = start_value(out, o0, lanes, y, whole_height, keeps, begin)
    a1 = start_value(out, o1, lanes, y1, whole_height, keeps, begin)
    a2 = start_value(out, o2, lanes, y2, whole_height, keeps, begin)
    a3 = start_value(out, o3, lanes, y3, whole_height, keeps, begin)
    rows6 = rows_of(y - grown - above, gap, height, stride, PADDING)
    r0, r1, r2, r3, r4, r5, k0, k1, k2, k3, k4, k5 = rows6
    for edge in range(first, last):
        at = planes + tl.load(source + edge)
        w = taps + taps_at + (edge - first) * 9
        w00, w01, w02 = tl.load(w), tl.load(w + 1), tl.load(w + 2)
        w10, w11, w12 = tl.load(w + 3), tl.load(w + 4), tl.load(w + 5)
        w20, w21, w22 = tl.load(w + 6), tl.load(w + 7), tl.load(w + 8)
        left, mid, right = load_three(at + r0, k0, x0, x1, x2, in0, in1, in2)
        a0 = a0 + w00 * left + w01 * mid + w02 * right
        left, mid, right = load_three(at + r1, k1, x0, x1, x2, in0, in1, in2)
        a0 = a0 + w10 * left + w11 * mid + w12 * right
        a1 = a1 + w00 * left + w01 * mid + w02 * right
        left, mid, right = load_three(at + r2, k2, x0, x1, x2, in0, in1, in2)
        a0 = a0 + w20 * left + w21 * mid + w22 * right
        a1 = a1 + w10 * left + w11 * mid + w12 * right
        a2 = a2 + w00 * left + w01 * mid + w02 * right
        left, mid, right = load_three(at + r3, k3, x0, x1, x2, in0, in1, in2)
        a1 = a1 + w20 * left + w21 * mid + w22 * right
        a2 = a2 + w10 * left + w11 * mid + w12 * right
        a3 = a3 + w00 * left + w01 * mid + w02 * right
        left, mid, right = load_three(at + r4, k4, x0, x1, x2, in0, in1, in2)
        a2 = a2 + w20 * left + w21 * mid + w22 * right
        a3 = a3 + w10 * left + w11 * mid + w12 * right
        left, mid, right = load_three(at + r5, k5, x0, x1, x2, in0, in1, in2)
        a3 = a3 + w20 * left + w21 * mid + w22 * right
    g0 = (y - grown) * gate_stride + x
    g1, g2, g3 = g0 + gap * gate_stride, g0 + 2 * gap * gate_stride, g0 + 3 * gap * gate_stride
    a0 = gated(a0, gates, g0, lanes, y, whole_height, gate)
    a1 = gated(a1, gates, g1, lanes, y1, whole_height, gate)
    a2 = gated(a2, gates, g2, lanes, y2, whole_height, gate)
    a3 = gated(a3, gates, g3, lanes, y3, whole_height, gate)
    tl.store(out + o0, a0, mask=lanes)
    tl.store(out + o1, a1, mask=y1 < whole_height)
    tl.store(out + o2, a2, mask=y2 < whole_height)
    tl.store(out + o3, a3, mask=y3 < whole_height)
