"""A planned network as a module: frozen for inference, or sharing the model's parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

from leanline.errors import ConfigError, ModelError
from leanline.kernels.ops import planes_forward, planes_infer
from leanline.masks import Mask
from leanline.masks.slots import find_slots
from leanline.runtime.plan import PlanePlan

Images = Float[Tensor, "batch channels height width"]
Outputs = Float[Tensor, "batch outputs height width"]


class Numbers(NamedTuple):
    """What a plane program is run with."""

    taps: Float[Tensor, "edges 9"]
    bias: Float[Tensor, " segments"]
    head: Float[Tensor, "outputs sources"]
    head_bias: Float[Tensor, " outputs"]


def gather(plan: PlanePlan, get: Callable[[str], Tensor]) -> Numbers:
    """Collect a plan's numbers from named parameters; differentiable."""
    filters = [get(name).reshape(-1, 9) for name in plan.weights]
    taps = torch.cat([*filters, torch.zeros(0, 9)]).index_select(0, torch.from_numpy(plan.taps))
    biases = [get(name) for name in plan.biases]
    bias = torch.cat([*biases, torch.zeros(1)]).index_select(0, torch.from_numpy(plan.bias))
    outputs = plan.program.outputs
    head, head_bias = torch.zeros(outputs, 0), torch.zeros(outputs)
    if plan.head is not None:
        channels = torch.from_numpy(plan.head_channels)
        head = get(plan.head)[:, :, 0, 0].index_select(1, channels)
    if plan.head_bias is not None:
        head_bias = get(plan.head_bias)
    return Numbers(taps, bias, head, head_bias)


def check_images(images: Tensor, channels: int) -> None:
    """Refuse what the kernels do not take.

    Raises:
        ModelError: wrong axes, channels, dtype or device.
    """
    if images.ndim != 4 or images.shape[1] != channels:
        raise ModelError(
            f"got images of shape {tuple(images.shape)}, this network takes "
            f"(batch, {channels}, height, width)"
        )
    if images.dtype != torch.float32:
        raise ModelError(f"got images of {images.dtype}, the CPU kernels take torch.float32")
    if images.device.type != "cpu":
        raise ModelError(f"got images on {images.device}, the CPU kernels take images on the CPU")
    if images.numel() == 0:
        raise ModelError(f"got images of shape {tuple(images.shape)}, which hold no pixel")


def check_threads(threads: int | None) -> int:
    """The thread count that is meant: PyTorch's when none is given.

    Raises:
        ConfigError: a count below 1.
    """
    if threads is not None and threads < 1:
        raise ConfigError(f"threads={threads}: must be at least 1")
    return threads or torch.get_num_threads()


class PlaneNetwork(nn.Module):
    """A network run by the plane kernels, for inference: a snapshot of the model's numbers.

    Takes float32 images on the CPU, any batch size, height and width (batch x channels x height x
    width), and returns batch x outputs x height x width. Images go to threads one by one.

    Args:
        plan: what to run.
        numbers: what to run it with.
        threads: number of threads.
    """

    packed: Tensor
    taps: Tensor
    bias: Tensor
    head: Tensor
    head_bias: Tensor

    def __init__(self, plan: PlanePlan, numbers: Numbers, threads: int) -> None:
        super().__init__()
        self.channels = plan.program.inputs
        self.threads = threads
        self.register_buffer("packed", plan.program.encode())
        for name, value in numbers._asdict().items():
            self.register_buffer(name, value.detach().clone())

    def forward(self, images: Images) -> Outputs:
        check_images(images, self.channels)
        return planes_infer(
            images, self.taps, self.bias, self.head, self.head_bias, self.packed, self.threads
        )

    def extra_repr(self) -> str:
        return (
            f"{len(self.taps)} filters, {len(self.bias)} planes computed, "
            f"{self.head.shape[1]} read by the final layer, threads={self.threads}"
        )


class SharedPlaneNetwork(nn.Module):
    """The same kernels for training: reads the model's own parameters, which get the gradients.

    Only kept filters are computed, forward and backward. Made anew whenever masks change.
    """

    packed: Tensor

    def __init__(self, plan: PlanePlan, model: nn.Module, threads: int) -> None:
        super().__init__()
        self.plan = plan
        self.threads = threads
        self.model = model
        slots = find_slots(model)
        named = [*plan.weights, *plan.biases, plan.head, plan.head_bias]
        self._places = {name: slots[name].holders[0] for name in named if name is not None}
        self.register_buffer("packed", plan.program.encode(), persistent=False)

    def forward(self, images: Images) -> Outputs:
        check_images(images, self.plan.program.inputs)
        numbers = gather(self.plan, lambda name: _stored(*self._places[name]))
        if torch.is_grad_enabled():
            return planes_forward(images, *numbers, self.packed, self.threads)[0]
        return planes_infer(images, *numbers, self.packed, self.threads)


def _stored(module: nn.Module, attribute: str) -> Tensor:
    """The parameter below a mask (a plan reads kept entries only), else the effective value."""
    if parametrize.is_parametrized(module, attribute):
        stack = module.parametrizations[attribute]  # type: ignore[index,union-attr]
        if all(isinstance(part, Mask) for part in stack):
            return stack.original  # type: ignore[no-any-return]
    return getattr(module, attribute)  # type: ignore[no-any-return]
