"""Dense 1x1 layers between planes: the head, and its gradient on the way back."""

import triton
import triton.language as tl

from leanline.kernels.gpu.indices import COUNTS, program_place


@triton.jit(do_not_specialize=COUNTS)
def mix(
    planes,
    out,
    source,
    target,
    matrix,
    bias,
    tiles,
    rows,
    planes_size,
    out_size,
    sources,
    targets,
    height,
    width,
    stride,
    out_stride,
    ADD: tl.constexpr,
    OUTPUTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write sums of planes, or ADD them to planes; a program computes OUTPUTS of them.

    ``matrix`` has a row a target; ``source`` and ``target`` are offsets of planes.
    """
    tile, row, image = program_place(tiles, rows)
    position = tile * BLOCK + tl.arange(0, BLOCK)
    lanes = position < height * width
    y = position // width
    x = position % width
    number = row * OUTPUTS + tl.arange(0, OUTPUTS)
    known = number < targets
    planes += image * planes_size
    place = y * stride + x
    at = tl.load(target + number, mask=known, other=0)
    where = out + image * out_size + at[:, None] + (y * out_stride + x)[None, :]
    ok = known[:, None] & lanes[None, :]
    acc = tl.zeros([OUTPUTS, BLOCK], tl.float32)
    if ADD:
        acc += tl.load(where, mask=ok, other=0.0)
    else:
        acc += tl.load(bias + number, mask=known, other=0.0)[:, None]
    for k in range(sources):
        value = tl.load(planes + tl.load(source + k) + place, mask=lanes, other=0.0)
        weight = tl.load(matrix + number * sources + k, mask=known, other=0.0)
        acc += weight[:, None] * value[None, :]
    tl.store(where, acc, mask=ok)


@triton.jit(do_not_specialize=[*COUNTS, "each", "blocks"])
def mix_gradients(
    planes,
    grads,
    source,
    sums,
    tiles,
    rows,
    each,
    blocks,
    planes_size,
    sources,
    targets,
    height,
    width,
    stride,
    parts,
    OUTPUTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Gradient of the head's matrix: a program does one source and OUTPUTS targets.

    ``grads`` are those of the targets, images one after the other; ``sums`` has a row an entry of
    the matrix, and a column for each of the ``parts`` of the pixels and images.
    """
    tile, row, image = program_place(tiles, rows)
    k = row % sources
    number = row // sources * OUTPUTS + tl.arange(0, OUTPUTS)
    known = number < targets
    area = height * width
    at = planes + image * planes_size + tl.load(source + k)
    from_grads = grads + (image * targets + number)[:, None] * area
    acc = tl.zeros([OUTPUTS, BLOCK], tl.float32)
    for block in range(tile * each, tl.minimum((tile + 1) * each, blocks)):
        position = block * BLOCK + tl.arange(0, BLOCK)
        lanes = position < area
        value = tl.load(at + position // width * stride + position % width, mask=lanes, other=0.0)
        ok = known[:, None] & lanes[None, :]
        acc += tl.load(from_grads + position[None, :], mask=ok, other=0.0) * value[None, :]
    entry = (number * sources + k).to(tl.int64)
    tl.store(sums + entry * parts + image * tiles + tile, tl.sum(acc, 1), mask=known)
