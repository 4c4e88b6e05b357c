"""One image through a plane program, backward, on one thread."""

import numba as nb
import numpy as np

from leanline.kernels.conv3 import START_FROM_BIAS, START_FROM_PLANE, usual_shape
from leanline.kernels.denormals import flush_denormals, restore_denormals
from leanline.kernels.halo import ZEROS, fold_border
from leanline.kernels.pointwise import run_pointwise
from leanline.kernels.products import matrix_gradients, plane_sum
from leanline.kernels.steps import BORDER, HEIGHT, STRIDE, WIDTH, run_step
from leanline.kernels.tap_gradient import tap_gradients
from leanline.kernels.window_gradient import largest_gradient, window_tap_gradients
from leanline.kernels.windows import CONVOLVE, LARGEST


@nb.njit(nogil=True, cache=True)
def _seed(picture, channel, planes, at, grid, add):  # type: ignore[no-untyped-def]
    for y in range(grid[HEIGHT]):
        begin = at + y * grid[STRIDE]
        row, line = planes[begin : begin + grid[WIDTH]], picture[channel, y]
        for x in range(line.size):
            row[x] = row[x] + line[x] if add else line[x]


@nb.njit(nogil=True, cache=True)
def add_output(grad_out, grads, at, grid, seeded):  # type: ignore[no-untyped-def]
    """Put an output's gradient into the gradient planes of its channels.

    Args:
        grad_out: float32, channels x height x width.
        grads: float32 buffer of gradient planes.
        at: int64 offset of each channel's gradient plane, its pixel (0, 0).
        grid: int64: height, width, stride, border.
        seeded: 1 where something is in the plane already (not read or written here).
    """
    for channel in range(at.size):
        _seed(grad_out, channel, grads, at[channel], grid, seeded[channel])


@nb.njit(nogil=True, cache=True)
def backward_image(program, mirror, places, numbers, buffers, results, count):  # type: ignore[no-untyped-def]
    """Gradients of one image; those of parameters are float64 and added to.

    Args:
        program: steps; windows; grid read by each step; where each step's taps begin.
        mirror: the data gradient's steps, windows, and where the taps of each begin.
        places: offset of each plane among the activations; of each plane among the gradients; of
            each edge's source plane among the activations; of each mirrored edge's source plane
            among the gradients; of the planes that the head reads; the planes that it reads, each
            once, and whether an output's gradient is there already; offsets of the head's gradient
            planes in ``seeds``; the grids; the head's grid; how borders are filled (offsets are
            those of pixel (0, 0)).
        numbers: float32: taps of the mirrored edges; transposed head, a row a plane that is read.
        buffers: activations, gradient planes, gradient planes of the head's outputs.
        results: gradients of taps, biases, head (outputs x sources) and head biases.
        count: how many of the data gradient's steps to run.
    """
    steps, windows, from_grids, taps_at = program
    mirror_steps, mirror_windows, mirror_taps_at = mirror
    at, grad_at, source, mirror_source, head_source, head_planes, seeded, seed_at = places[:8]
    grids, head_grid, mode = places[8:]
    mirror_taps, head_columns = numbers
    planes, grads, seeds = buffers
    grad_taps, grad_bias, grad_head, grad_head_bias = results
    zero = nb.int64(0)  # no literal, for which all would be compiled again
    state = flush_denormals()
    if head_source.size:
        grid = grids[head_grid]
        height, width, stride = grid[HEIGHT], grid[WIDTH], grid[STRIDE]
        for k in range(seed_at.size):
            grad_head_bias[k] += plane_sum(seeds, seed_at[k], stride, height, width)
        matrix_gradients(planes, head_source, seeds, seed_at, stride, height, width, grad_head)
    nothing = np.zeros(1, np.float32)
    target = np.zeros(1, np.int64)
    step = steps.shape[0]
    # Plane by plane, so that a plane's gradient is in the cache for all that is done with it.
    for row in range(count):
        plane, window, first, last, start, gate, whole, from_grid, to_grid = mirror_steps[row]
        here, there = at[plane], grad_at[plane]
        grid = grids[to_grid]
        height, width, stride = grid[HEIGHT], grid[WIDTH], grid[STRIDE]
        if row == 0 or mirror_steps[row - 1, 0] != plane:
            for k in range(head_planes.size):
                if head_planes[k] == plane:
                    target[0] = there
                    run_pointwise(
                        seeds,
                        seed_at,
                        head_columns[k],
                        nothing,
                        target,
                        grads,
                        (zero, seed_at.size, seed_at.size),
                        START_FROM_PLANE if seeded[k] else START_FROM_BIAS,
                        (grids[head_grid, STRIDE], stride),
                        (zero, height, width),
                    )
        if windows[window, 0] == LARGEST and last > first:
            largest_gradient(
                planes,
                grads,
                mirror_source[first:last],
                windows[window],
                start,
                gate,
                (here, there),
                grids[from_grid],
                grid,
            )
        else:
            grown = grid[BORDER] if whole and mode != ZEROS else 0
            run_step(
                grads,
                mirror_source,
                mirror_taps,
                grads,
                planes,
                nb.float32(0.0),
                (first, last, mirror_taps_at[row]),
                mirror_windows[window],
                (usual_shape(width), start, gate),
                (there, here),
                grids[from_grid],
                grid,
                (-grown, height + grown, -grown, width + grown),
            )
        if row + 1 < mirror_steps.shape[0] and mirror_steps[row + 1, 0] == plane:
            continue
        if mode != ZEROS and grid[BORDER]:
            fold_border(grads, there, stride, height, width, grid[BORDER], mode)
        if step == 0:  # a plane of an input
            continue
        step -= 1
        grad_bias[step] += plane_sum(grads, there, stride, height, width)
        kind, rows, columns, row_step, column_step, row_gap, gap, above, before = windows[
            steps[step, 1]
        ][:9]
        edges = (steps[step, 2], steps[step, 3], taps_at[step])
        read = grids[from_grids[step]]
        if kind == LARGEST:
            continue
        if (
            kind == CONVOLVE
            and rows == 3
            and columns == 3
            and row_step == 1
            and column_step == 1
            and row_gap == gap
        ):
            centre = (gap - above) * read[STRIDE] + gap - before
            layout = (centre, read[STRIDE], there, stride)
            tap_gradients(planes, grads, source, edges, gap, layout, (height, width), grad_taps)
        else:
            window_tap_gradients(
                planes, grads, source, edges, windows[steps[step, 1]], there, read, grid, grad_taps
            )
    restore_denormals(state)
