"""A plane program in plain PyTorch: what every kernel is compared with. Any dtype, any device."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from leanline.kernels.layout import grid_sizes
from leanline.kernels.program import PlaneProgram
from leanline.kernels.windows import LARGEST, SPREAD, Window

Images = Float[Tensor, "batch _ _ _"]


def run_reference(
    program: PlaneProgram,
    images: list[Images],
    taps: Float[Tensor, " taps"],
    bias: Float[Tensor, " steps"],
    head: Float[Tensor, "outputs sources"],
    head_bias: Float[Tensor, " outputs"],
) -> list[Images]:
    """Run ``program`` step by step; differentiable in everything but the program.

    Returns:
        The outputs; that of the head is the last.
    """
    mode = {"zeros": "constant"}.get(program.padding, program.padding)
    sizes = grid_sizes(program, tuple((t.shape[2], t.shape[3]) for t in images))
    planes = [channel[:, None] for image in images for channel in image.unbind(1)]
    for row, (plane, number, first, last, relu, _) in enumerate(program.steps.tolist()):
        sources = [planes[p] for p in program.source[first:last].tolist()]
        size = sizes[program.grid[plane]]
        if sources:
            weights = taps[program.taps_at[row] : program.taps_at[row + 1]]
            value = _apply(program.window(number), torch.cat(sources, 1), weights, mode)
        else:
            value = images[0].new_zeros(len(images[0]), 1, *size)
        value = value + bias[row]
        planes.append(functional.relu(value) if relu else value)
    outputs = [torch.cat([planes[p] for p in ids.tolist()], 1) for ids in program.outputs]
    if program.head.size:
        mixed = torch.cat([planes[p] for p in program.head.tolist()], 1)
        outputs.append(functional.conv2d(mixed, head[:, :, None, None], head_bias))
    return outputs


def _apply(window: Window, sources: Images, taps: Tensor, mode: str) -> Images:
    stride = (window.row_step, window.column_step)
    dilation = (window.row_dilation, window.column_dilation)
    size = (window.rows, window.columns)
    around = (window.left, window.right, window.top, window.bottom)
    if window.kind == LARGEST:
        padded = functional.pad(sources, around, value=-torch.inf)
        return functional.max_pool2d(padded, size, stride, 0, dilation)
    kernel = taps.reshape(1, sources.shape[1], *size)
    if window.kind == SPREAD:
        whole = functional.conv_transpose2d(
            sources, kernel.transpose(0, 1), stride=stride, dilation=dilation
        )
        return functional.pad(whole, [-n for n in around])
    padded = functional.pad(sources, around, mode=mode) if any(around) else sources
    return functional.conv2d(padded, kernel, stride=stride, dilation=dilation)
