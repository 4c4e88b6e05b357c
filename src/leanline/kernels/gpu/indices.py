"""What the Triton kernels share: where a program works, and what lies outside pictures."""

import triton
import triton.language as tl

from leanline.kernels.gpu import launches

ROW = tl.constexpr(launches.ROW)
GATE_SELF = tl.constexpr(launches.GATE_SELF)
GATE_OTHER = tl.constexpr(launches.GATE_OTHER)

COUNTS = ["tiles", "rows"]
"""Arguments that differ from launch to launch: nothing is compiled again for them."""


@triton.jit
def program_place(tiles, rows):
    """Block of pixels, row of the table and image (64 bits) of this program."""
    program = tl.program_id(0)
    rest = program // tiles
    return program % tiles, rest % rows, (rest // rows).to(tl.int64)


@triton.jit
def read_step(table, row):
    """The numbers of a `launches.Step`; those of its window have 32 bits."""
    at = table + row * ROW
    return (
        tl.load(at),
        tl.load(at + 1),
        tl.load(at + 2),
        tl.load(at + 3),
        tl.load(at + 4),
        tl.load(at + 5).to(tl.int32),
        tl.load(at + 6).to(tl.int32),
        tl.load(at + 7),
        tl.load(at + 8).to(tl.int32),
        tl.load(at + 9).to(tl.int32),
        tl.load(at + 10).to(tl.int32),
        tl.load(at + 11).to(tl.int32),
    )


@triton.jit
def look(index, size, PADDING: tl.constexpr):
    """The picture's row or column that stands at ``index``, and whether there is one.

    PADDING is one of `halo.MODES`; with zeros there is none outside.
    """
    inside = index == index
    if PADDING == 0:
        inside = (index >= 0) & (index < size)
    if PADDING == 2:
        index = tl.where(index < 0, -index, index)
        index = tl.where(index >= size, 2 * (size - 1) - index, index)
    return tl.minimum(tl.maximum(index, 0), size - 1), inside


@triton.jit
def start_value(out, offset, lanes, position, count, keeps, bias):
    """What a step adds to: the bias, and what the plane holds if it ``keeps`` that.

    The conditions are folded into one comparison of a lane's ``position`` with ``count``.
    """
    return bias + tl.load(out + offset, mask=lanes & (position < count * keeps), other=0.0)


@triton.jit
def gated(value, gates, offset, lanes, position, count, gate):
    """End a step: where its own value or an activation is not positive, 0 (NaN stays)."""
    other = (gate == GATE_OTHER).to(tl.int32)
    decides = tl.load(gates + offset, mask=lanes & (position < count * other), other=1.0)
    decides = tl.where(gate == GATE_SELF, value, decides)
    return tl.where(decides <= 0.0, 0.0, value)
