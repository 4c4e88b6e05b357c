"""One image through a plane program, forward; on one thread, or by rows on several."""

import numba as nb

from leanline.kernels.barrier import meet
from leanline.kernels.conv3 import GATE_NONE, GATE_SELF, START_FROM_BIAS, START_FROM_PLANE
from leanline.kernels.denormals import flush_denormals, restore_denormals
from leanline.kernels.halo import ZEROS, fill_border
from leanline.kernels.pointwise import run_pointwise
from leanline.kernels.program import PLANE
from leanline.kernels.steps import BORDER, HEIGHT, STRIDE, WIDTH, run_step

ROWS = 4  # bands begin at a multiple, which tiles and transposed convolutions like


@nb.njit(nogil=True, cache=True)
def _copy(source, target):  # type: ignore[no-untyped-def]
    for x in range(source.size):  # Numba compiles ``target[:] = source`` for seconds
        target[x] = source[x]


@nb.njit(nogil=True, cache=True)
def load_planes(picture, planes, at, grid, mode):  # type: ignore[no-untyped-def]
    """Copy the channels of a picture into planes.

    Args:
        picture: float32, channels x height x width.
        planes: float32 buffer of the image's planes.
        at: int64 offset of each channel's plane, its pixel (0, 0).
        grid: int64: height, width, stride, border.
        mode: how the border is filled (see `halo`).
    """
    height, width, stride, border = grid
    for channel in range(at.size):
        for y in range(height):
            begin = at[channel] + y * stride
            _copy(picture[channel, y], planes[begin : begin + width])
        if mode != ZEROS:
            fill_border(planes, at[channel], stride, height, width, border, mode)


@nb.njit(nogil=True, cache=True)
def unload_planes(planes, at, grid, picture):  # type: ignore[no-untyped-def]
    """Copy planes into the channels of a picture; arguments as in `load_planes`."""
    height, width, stride = grid[HEIGHT], grid[WIDTH], grid[STRIDE]
    for channel in range(at.size):
        for y in range(height):
            begin = at[channel] + y * stride
            _copy(planes[begin : begin + width], picture[channel, y])


@nb.njit(nogil=True, cache=True)
def _band(height, member, members):  # type: ignore[no-untyped-def]
    """Rows that one of several threads computes."""
    blocks = -(-height // ROWS)
    first = blocks * member // members * ROWS
    last = blocks * (member + 1) // members * ROWS
    return min(first, height), min(last, height)


@nb.njit(nogil=True, cache=True)
def _run_band(program, places, numbers, planes, first, last, together, band):  # type: ignore[no-untyped-def]
    """Some steps of a group on one of several bands of rows; the rest as in `forward_image`."""
    steps, windows, from_grids, to_grids, taps_at, _, _, _, (_, ahead) = program
    at, source, _, _, grids, _, _ = places
    taps, bias, _, _ = numbers
    # plain integers: Numba would compile all again for tuples that hold literal ones
    zero, from_bias = nb.int64(0), nb.int64(START_FROM_BIAS)
    for step in range(first, last):
        plane, window, begin, end, relu, shape = steps[step]
        grid = grids[to_grids[step]]
        top, bottom = _band(grid[HEIGHT], band[0], band[1])
        run_step(
            planes,
            source,
            taps,
            planes,
            planes,
            bias[step],
            (begin, end, taps_at[step]),
            windows[window],
            (shape, together, ahead, from_bias, GATE_SELF if relu else GATE_NONE),
            (at[plane], at[plane]),
            grids[from_grids[step]],
            grid,
            (top, bottom, zero, grid[WIDTH]),
        )


@nb.njit(nogil=True, cache=True)
def forward_image(program, places, numbers, planes, out, team):  # type: ignore[no-untyped-def]
    """Run the program on one image, whose inputs are loaded.

    Args:
        program: steps; windows; grid read by each step; grid of each step's plane; where each
            step's taps begin; groups of steps (first, last excluded), between which threads meet;
            bands of rows that each group is done in; parts of the head (groups before it, first
            and last column); edges that a tile of each group adds up at a time, and how many ahead
            it calls into the cache.
        places: offset of each plane, of each edge's source plane, of the planes that the head
            reads (always pixel (0, 0)); offset of each of the head's outputs in ``out``; the
            grids; the head's grid; how borders are filled.
        numbers: float32: taps, biases, the head's matrix (flat), the head's biases.
        planes: float32 buffer of the image's planes; what no step writes is zero.
        out: float32, what the head computes: outputs x height x width, flat; written.
        team: int64 counter for `meet`, number of this thread, number of threads. Several threads
            need a program without filled borders.
    """
    steps, _, _, _, _, groups, bands, chunks, (edges, _) = program
    at, _, head_source, head_targets, grids, head_grid, mode = places
    _, _, head, head_bias = numbers
    counter, member, members = team
    zero, one = nb.int64(0), nb.int64(1)  # literal ones would be compiled for apart
    state = flush_denormals()
    chunk = 0
    for group in range(groups.shape[0] + 1):
        if group < groups.shape[0]:
            if group:
                meet(counter, members)
            first, last = groups[group]
            together = edges[group]
            if mode == ZEROS:
                parts = bands[group]
                for part in range(parts):
                    band = (member * parts + part, members * parts)
                    _run_band(program, places, numbers, planes, first, last, together, band)
            else:
                for step in range(first, last):
                    _run_band(
                        program, places, numbers, planes, step, step + one, together, (zero, one)
                    )
                    grid = grids[program[3][step]]
                    if grid[BORDER]:
                        fill_border(
                            planes, at[steps[step, PLANE]], grid[STRIDE],
                            grid[HEIGHT], grid[WIDTH], grid[BORDER], mode,
                        )  # fmt: skip
        while chunk < chunks.shape[0] and chunks[chunk, 0] <= group + 1:
            grid = grids[head_grid]
            top, bottom = _band(grid[HEIGHT], member, members)
            run_pointwise(
                planes,
                head_source,
                head,
                head_bias,
                head_targets,
                out,
                (chunks[chunk, 1], chunks[chunk, 2], head_source.size),
                START_FROM_PLANE if chunk else START_FROM_BIAS,
                (grid[STRIDE], grid[WIDTH]),
                (top, bottom, grid[WIDTH]),
            )
            chunk += 1
    restore_denormals(state)
