"""One image through a plane program, backward, on one thread."""

import numba as nb

from leanline.kernels.back3 import EDGES, run_back3
from leanline.kernels.conv3 import START_FROM_BIAS, START_FROM_PLANE, usual_shape
from leanline.kernels.denormals import flush_denormals, restore_denormals
from leanline.kernels.halo import ZEROS, fold_border
from leanline.kernels.head_gradient import run_head_gradient
from leanline.kernels.steps import BORDER, HEIGHT, STRIDE, WIDTH, run_step
from leanline.kernels.sums import plane_sum
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
def _is_plain(window):  # type: ignore[no-untyped-def]
    """Whether it is a 3x3 convolution of stride 1."""
    shape = window[0] == CONVOLVE and window[1] == 3 and window[2] == 3
    return shape and window[3] == 1 and window[4] == 1 and window[5] == window[6]


@nb.njit(nogil=True, cache=True)
def backward_image(program, mirror, places, numbers, buffers, results):  # type: ignore[no-untyped-def]
    """Gradients of one image; those of parameters are float64 and added to.

    Args:
        program: steps; windows; grid read by each step; where each step's taps begin.
        mirror: the data gradient's steps, windows, where the taps of each begin, and where the
            taps of each mirrored edge begin among the program's.
        places: offset of each plane among the activations; of each plane among the gradients; of
            each edge's source plane among the activations; of each mirrored edge's source plane
            among the gradients; the planes that the head reads, each once, and whether an output's
            gradient is there already; offsets of the head's gradient planes in ``seeds``; the
            grids; the head's grid; how borders are filled (offsets are those of pixel (0, 0)).
        numbers: float32: taps of the mirrored edges; transposed head, a row a plane that is read.
        buffers: activations, gradient planes, gradient planes of the head's outputs.
        results: gradients of taps, biases, head (planes that it reads x outputs) and head
            biases.
    """
    steps, windows, from_grids, taps_at = program
    mirror_steps, mirror_windows, mirror_taps_at, first_taps = mirror
    at, grad_at, source, mirror_source, head_planes, seeded, seed_at = places[:7]
    grids, head_grid, mode = places[7:]
    mirror_taps, head_columns = numbers
    planes, grads, seeds = buffers
    grad_taps, grad_bias, grad_head, grad_head_bias = results
    state = flush_denormals()
    if head_planes.size:
        grid = grids[head_grid]
        height, width, stride = grid[HEIGHT], grid[WIDTH], grid[STRIDE]
        for k in range(seed_at.size):
            grad_head_bias[k] += plane_sum(seeds, seed_at[k], stride, height, width)
    step = steps.shape[0]
    # Plane by plane, so that a plane's gradient is in the cache for all that is done with it.
    for row in range(mirror_steps.shape[0]):
        plane, window, first, last, start, gate, whole, from_grid, to_grid = mirror_steps[row]
        here, there = at[plane], grad_at[plane]
        grid = grids[to_grid]
        height, width, stride = grid[HEIGHT], grid[WIDTH], grid[STRIDE]
        if row == 0 or mirror_steps[row - 1, 0] != plane:
            for k in range(head_planes.size):
                if head_planes[k] == plane:
                    run_head_gradient(
                        seeds,
                        seed_at,
                        head_columns[k],
                        planes,
                        grads,
                        (here, there),
                        (
                            grids[head_grid, STRIDE],
                            stride,
                            START_FROM_PLANE if seeded[k] else START_FROM_BIAS,
                        ),
                        (height, width),
                        grad_head[k],
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
        elif _is_plain(windows[window]) and last > first:
            grown = grid[BORDER] if mode != ZEROS else 0
            gap = windows[window, 5]
            stride_there = grids[from_grid, STRIDE]
            above, before = mirror_windows[window, 7], mirror_windows[window, 8]
            run_back3(
                grads,
                mirror_source,
                mirror_taps,
                planes,
                (first, last, mirror_taps_at[row]),
                first_taps[first:last],
                (gap, start, gate),
                ((gap - above) * stride_there + gap - before, stride_there, there, here, stride),
                (-grown, height + grown, -grown, width + grown),
                grad_taps,
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
                (usual_shape(width), nb.int64(EDGES), nb.int64(0), start, gate),
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
        own = windows[steps[step, 1]]
        if own[0] != LARGEST and not _is_plain(own):
            edges = (steps[step, 2], steps[step, 3], taps_at[step])
            read = grids[from_grids[step]]
            window_tap_gradients(planes, grads, source, edges, own, there, read, grid, grad_taps)
    restore_denormals(state)
