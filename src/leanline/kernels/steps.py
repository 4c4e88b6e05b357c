"""One step of a program: which kernel computes a plane from its sources."""

import numba as nb

from leanline.kernels.conv3 import run_conv3
from leanline.kernels.spread import run_double, run_spread
from leanline.kernels.window import run_window
from leanline.kernels.windows import CONVOLVE, LARGEST, SPREAD

HEIGHT, WIDTH, STRIDE, BORDER = 0, 1, 2, 3
"""What is known of a grid: its size, floats from row to row, pixels around it that are filled."""


@nb.njit(nogil=True, cache=True, boundscheck=False)
def run_step(
    planes, source, taps, out, gates, bias, edges, window, ends, places, from_grid, to_grid, area
):  # type: ignore[no-untyped-def]
    """Compute one plane, or some of its rows.

    Args:
        planes: float32 buffer of one image that holds the sources.
        source: int64 offset of each edge's source plane, its pixel (0, 0), in ``planes``.
        taps: float32, row by row for each edge.
        out: float32 buffer that is written.
        gates: float32 buffer that is read for `GATE_OTHER`, laid out as ``out``.
        bias: value to start from.
        edges: first edge, one past the last edge, where the first edge's taps begin.
        window: numbers of a `Window`.
        ends: number of the tile's shape, edges at a time, edges ahead, start and gate (see
            `conv3`).
        places: offset of pixel (0, 0) of the written plane in ``out``, and in ``gates``.
        from_grid: of the sources.
        to_grid: of the plane that is written.
        area: first row, one past the last, first column, one past the last.
    """
    kind, rows, columns, row_step, column_step = (
        window[0],
        window[1],
        window[2],
        window[3],
        window[4],
    )
    row_gap, gap, above, before = window[5], window[6], window[7], window[8]
    shape, together, ahead, start, gate = ends
    target, gate_at = places
    top, bottom, left, right = area
    stride, target_stride = from_grid[STRIDE], to_grid[STRIDE]
    if kind == SPREAD:
        plain = rows == 2 and columns == 2 and row_step == 2 and column_step == 2
        plain = plain and row_gap == 1 and gap == 1 and above == 0 and before == 0
        # the same kernel for all bands of rows, or threads would change the last bits
        inside = to_grid[HEIGHT] <= 2 * from_grid[HEIGHT] and to_grid[WIDTH] <= 2 * from_grid[WIDTH]
        if plain and inside and left == 0 and top >= 0 and top % 2 == 0:
            run_double(
                planes,
                source,
                taps,
                out,
                gates,
                bias,
                edges,
                (start, gate),
                (stride, target, target_stride, gate_at),
                (top, bottom, right),
            )
            return
        run_spread(
            planes,
            source,
            taps,
            out,
            gates,
            bias,
            edges,
            (rows, columns, row_step, column_step, row_gap, gap, above, before, start, gate),
            (stride, target, target_stride, gate_at),
            (from_grid[HEIGHT], from_grid[WIDTH]),
            area,
        )
    elif (
        kind == CONVOLVE
        and rows == 3
        and columns == 3
        and row_step == 1
        and column_step == 1
        and row_gap == gap
    ):
        centre = (gap - above) * stride + gap - before
        run_conv3(
            planes,
            source,
            taps,
            out,
            gates,
            bias,
            edges,
            (shape, together, ahead, gap, start, gate),
            (centre, stride, target, target_stride, gate_at),
            area,
        )
    else:
        run_window(
            planes,
            source,
            taps,
            out,
            gates,
            bias,
            edges,
            (rows, columns, row_step, column_step, row_gap, gap, start, gate),
            (-above * stride - before, stride, target, target_stride, gate_at),
            area,
            kind == LARGEST and edges[1] > edges[0],
        )
