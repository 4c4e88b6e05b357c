"""A plane program as a module: registered as long as it lives, run on checked images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from leanline.errors import ModelError
from leanline.kernels.ops import planes_forward, planes_infer
from leanline.kernels.program import PlaneProgram
from leanline.kernels.registry import register


class Planes(nn.Module):
    """Runs a program with numbers that it is given; differentiable in images and numbers.

    Takes float32 images, any batch size, height and width (batch x channels x height x width). On
    the CPU images go to threads one by one; fewer images than threads are computed by rows.

    Args:
        program: what to run.
        threads: number of threads on the CPU.
    """

    def __init__(self, program: PlaneProgram, threads: int) -> None:
        super().__init__()
        self.program, self.threads = program, threads
        self.key = register(program)
        # numbers that torch.compile can follow
        self._channels = tuple(int(count) for count in program.inputs[:, 1])

    def __setstate__(self, state: dict[str, object]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.key = register(self.program)

    def forward(self, images: Sequence[Tensor], numbers: Sequence[Tensor]) -> list[Tensor]:
        """Compute the program's outputs; activations are kept only where gradients are wanted.

        Args:
            images: one an input.
            numbers: taps, biases, head and head biases.

        Raises:
            ModelError: images of wrong axes, channels, dtype or device.
        """
        self._check(images, numbers[0].device)
        wanted = any(tensor.requires_grad for tensor in (*images, *numbers))
        call = planes_forward if wanted and torch.is_grad_enabled() else planes_infer
        found: list[Tensor] = call(list(images), *numbers, self.key, self.threads)
        return found

    def _check(self, images: Sequence[Tensor], device: torch.device) -> None:
        for tensor, channels in zip(images, self._channels, strict=True):
            if tensor.ndim != 4 or tensor.shape[1] != channels:
                raise ModelError(
                    f"got images of shape {tuple(tensor.shape)}, this network takes "
                    f"(batch, {channels}, height, width)"
                )
            if tensor.dtype != torch.float32:
                raise ModelError(f"got images of {tensor.dtype}, the kernels take torch.float32")
            if tensor.device != device:
                raise ModelError(f"got images on {tensor.device}, this network is on {device}")
            if tensor.numel() == 0:
                raise ModelError(f"got images of shape {tuple(tensor.shape)}, which hold no pixel")
