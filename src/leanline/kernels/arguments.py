"""What a plane program takes: pictures and numbers of the right shapes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from leanline.errors import ModelError
from leanline.kernels.program import PlaneProgram, Sizes


def check_images(program: PlaneProgram, images: Sequence[Tensor]) -> Sizes:
    """Height and width of each input.

    Raises:
        ModelError: the pictures are not what the program takes.
    """
    channels = program.inputs[:, 1].tolist()
    if len(images) != len(channels):
        raise ModelError(f"got {len(images)} tensors, the program takes {len(channels)}")
    for tensor, count in zip(images, channels, strict=True):
        good = tensor.ndim == 4 and tensor.shape[1] == count and tensor.dtype == torch.float32
        if not good or len(tensor) != len(images[0]):
            raise ModelError(
                f"got images of {tensor.dtype} and shape {tuple(tensor.shape)}: the program "
                f"takes torch.float32 of shape ({len(images[0])}, {count}, height, width)"
            )
    return tuple((int(t.shape[2]), int(t.shape[3])) for t in images)


def flat_numbers(name: str, tensor: Tensor, size: int) -> Tensor:
    """The numbers of a parameter, flat; what the kernels would read past is refused.

    Raises:
        ModelError: it has another dtype or another number of values.
    """
    if tensor.dtype != torch.float32 or tensor.numel() != size:
        raise ModelError(
            f"{name} is {tensor.dtype} of shape {tuple(tensor.shape)}: "
            f"the program needs {size} values of torch.float32"
        )
    return tensor.detach().contiguous().reshape(-1)
