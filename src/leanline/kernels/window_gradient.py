"""Gradients of steps that are not 3x3 convolutions of stride 1: of their taps, and of a maximum."""

import numba as nb

from leanline.kernels.conv3 import GATE_NONE, START_FROM_BIAS
from leanline.kernels.steps import HEIGHT, STRIDE, WIDTH
from leanline.kernels.windows import SPREAD


@nb.njit(nogil=True, cache=True, fastmath={"reassoc", "contract"}, boundscheck=False)
def _product(a, first_a, step_a, b, first_b, step_b, count):  # type: ignore[no-untyped-def]
    total = nb.float32(0.0)
    if step_a == 1 and step_b == 1:
        for i in range(count):
            total += a[first_a + i] * b[first_b + i]
    else:
        for i in range(count):
            total += a[first_a + i * step_a] * b[first_b + i * step_b]
    return total


@nb.njit(nogil=True, cache=True, boundscheck=False)
def window_tap_gradients(planes, grads, source, edges, window, target, from_grid, to_grid, out):  # type: ignore[no-untyped-def]
    """Add the tap gradients of a step's edges to ``out``.

    Sums run in float32 along a row and in float64 from row to row.

    Args:
        planes: float32 buffer of activations of one image.
        grads: float32 buffer of gradients.
        source: int64 offset of each edge's source plane, its pixel (0, 0).
        edges: first edge, one past the last, where the first edge's taps begin in ``out``.
        window: numbers of a `Window`.
        target: offset of the gradient's pixel (0, 0).
        from_grid: of the sources.
        to_grid: of the gradient.
        out: float64, added to in place.
    """
    first, last, tap = edges
    kind, rows, columns, row_step, column_step, row_gap, gap, above, before = window[:9]
    # The pixels of the small side are walked one by one, those of the large side in steps.
    if kind == SPREAD:
        height, width = from_grid[HEIGHT], from_grid[WIDTH]
        large_height, large_width = to_grid[HEIGHT], to_grid[WIDTH]
    else:
        height, width = to_grid[HEIGHT], to_grid[WIDTH]
    for edge in range(first, last):
        for row in range(rows):
            for column in range(columns):
                total = 0.0
                shift = column * gap - before
                begin, end = 0, width
                if kind == SPREAD:
                    begin = max(0, -(shift // column_step))
                    end = min(width, (large_width - 1 - shift) // column_step + 1)
                for y in range(height):
                    line = y * row_step + row * row_gap - above
                    if kind == SPREAD:
                        if 0 <= line < large_height and end > begin:
                            total += _product(
                                planes,
                                source[edge] + y * from_grid[STRIDE] + begin,
                                1,
                                grads,
                                target + line * to_grid[STRIDE] + begin * column_step + shift,
                                column_step,
                                end - begin,
                            )
                    else:
                        total += _product(
                            grads,
                            target + y * to_grid[STRIDE],
                            1,
                            planes,
                            source[edge] + line * from_grid[STRIDE] + shift,
                            column_step,
                            width,
                        )
                out[tap + ((edge - first) * rows + row) * columns + column] += total


@nb.njit(nogil=True, cache=True, boundscheck=False)
def largest_gradient(planes, grads, consumers, window, start, gate, places, from_grid, to_grid):  # type: ignore[no-untyped-def]
    """Gradient of a plane whose windows' largest values were taken.

    It goes to the first pixel of a window that holds the largest value, as in PyTorch.

    Args:
        planes: float32 buffer of activations of one image.
        grads: float32 buffer of gradients; written at the plane.
        consumers: int64 offset of the gradients of the largest values, pixel (0, 0).
        window: numbers of the `Window`.
        start: `START_FROM_BIAS` (from zero) or `START_FROM_PLANE`.
        gate: `GATE_NONE`, or `GATE_OTHER`: the plane's own ReLU.
        places: offset of the plane's pixel (0, 0) among the activations, among the gradients.
        from_grid: of the largest values.
        to_grid: of the plane.
    """
    _, rows, columns, row_step, column_step, row_gap, gap, above, before = window[:9]
    here, there = places
    height, width, stride = to_grid[HEIGHT], to_grid[WIDTH], to_grid[STRIDE]
    if start == START_FROM_BIAS:
        for y in range(height):
            grads[there + y * stride : there + y * stride + width] = 0
    for consumer in consumers:
        for y in range(from_grid[HEIGHT]):
            for x in range(from_grid[WIDTH]):
                best, found = nb.float32(0), -1
                for row in range(rows):
                    line = y * row_step + row * row_gap - above
                    if line < 0 or line >= height:
                        continue
                    for column in range(columns):
                        at = x * column_step + column * gap - before
                        if at < 0 or at >= width:
                            continue
                        value = planes[here + line * stride + at]
                        if found < 0 or value > best or value != value:
                            best, found = value, line * stride + at
                if found >= 0:
                    grads[there + found] += grads[consumer + y * from_grid[STRIDE] + x]
    if gate != GATE_NONE:
        for y in range(height):
            for x in range(y * stride, y * stride + width):
                if planes[here + x] <= 0:
                    grads[there + x] = 0
