"""A plane program in plain PyTorch: what every kernel is compared with. Any dtype, any device."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from leanline.kernels.program import PlaneProgram


def run_reference(
    program: PlaneProgram,
    images: Float[Tensor, "batch channels height width"],
    taps: Float[Tensor, "edges 9"],
    bias: Float[Tensor, " segments"],
    head: Float[Tensor, "outputs sources"],
    head_bias: Float[Tensor, " outputs"],
) -> Float[Tensor, "batch outputs height width"]:
    """Run ``program`` segment by segment; differentiable in everything but the program."""
    mode = {"zeros": "constant"}.get(program.padding, program.padding)
    planes: dict[int, Tensor] = {c: images[:, c : c + 1] for c in range(program.inputs)}
    for row, (plane, dilation, first, last, relu) in enumerate(program.segments.tolist()):
        sources = [planes[p] for p in program.source[first:last].tolist()]
        if sources:
            padded = functional.pad(torch.cat(sources, 1), [dilation] * 4, mode=mode)
            kernel = taps[first:last].reshape(1, last - first, 3, 3)
            value = functional.conv2d(padded, kernel, bias[row : row + 1], dilation=dilation)
        else:
            value = bias[row].expand_as(images[:, :1])
        planes[plane] = functional.relu(value) if relu else value
    if program.head.size:
        mixed = torch.cat([planes[p] for p in program.head.tolist()], 1)
        return functional.conv2d(mixed, head[:, :, None, None], head_bias)
    return torch.cat([planes[p] for p in program.output_planes.tolist()], 1)
