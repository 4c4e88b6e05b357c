"""A planned network as a module: frozen for inference, or sharing the model's parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

from leanline.errors import ConfigError, ModelError
from leanline.kernels.ops import planes_forward, planes_infer
from leanline.masks import Mask
from leanline.masks.slots import find_slots, hooks
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
    taps = torch.cat([*filters, _zeros(0, 9)]).index_select(0, torch.from_numpy(plan.taps))
    biases = [get(name) for name in plan.biases]
    bias = torch.cat([*biases, _zeros(1)]).index_select(0, torch.from_numpy(plan.bias))
    outputs = plan.program.outputs
    head, head_bias = _zeros(outputs, 0), _zeros(outputs)
    if plan.head is not None:
        channels = torch.from_numpy(plan.head_channels)
        head = get(plan.head)[:, :, 0, 0].index_select(1, channels)
    if plan.head_bias is not None:
        head_bias = get(plan.head_bias)
    return Numbers(taps, bias, head, head_bias)


def _zeros(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.float32)


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
        ConfigError: no whole number, or one below 1.
    """
    if threads is None:
        return torch.get_num_threads()
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ConfigError(f"threads={threads!r}: must be a whole number, at least 1")
    return threads


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
        """Compute the network."""
        check_images(images, self.channels)
        out: Tensor = planes_infer(
            images, self.taps, self.bias, self.head, self.head_bias, self.packed, self.threads
        )
        return out

    def extra_repr(self) -> str:
        """Its size, for ``print``."""
        return (
            f"{len(self.taps)} filters, {len(self.bias)} planes computed, "
            f"{self.head.shape[1]} read by the final layer, threads={self.threads}"
        )


class SharedPlaneNetwork(nn.Module):
    """The same kernels for training: reads the model's own parameters, which get the gradients.

    Only kept filters are computed, forward and backward. Made anew whenever masks change.

    Args:
        plan: what to run, for the masks of `model`.
        model: the network.
        tensors: constants by name: what the plan names and `model` has no parameter or buffer of.
        threads: number of threads.

    Raises:
        ModelError: a parameter is computed by an old-style hook that the kernels do not follow.
    """

    packed: Tensor

    def __init__(
        self, plan: PlanePlan, model: nn.Module, tensors: Mapping[str, Tensor], threads: int
    ) -> None:
        super().__init__()
        self.plan = plan
        self.threads = threads
        self.model = model
        named = (*plan.weights, *plan.biases, plan.head, plan.head_bias)
        dense = {plan.head, plan.head_bias}
        readers = _readers(model, tensors)
        self._readers = {
            name: readers(name, _effective if name in dense else _stored)
            for name in named
            if name is not None
        }
        self.register_buffer("packed", plan.program.encode(), persistent=False)

    def forward(self, images: Images) -> Outputs:
        """Compute the network; differentiable in images and parameters."""
        check_images(images, self.plan.program.inputs)
        numbers = gather(self.plan, lambda name: self._readers[name]())
        out: Tensor
        if torch.is_grad_enabled():
            out, _ = planes_forward(images, *numbers, self.packed, self.threads)
        else:
            out = planes_infer(images, *numbers, self.packed, self.threads)
        return out


Get = Callable[[nn.Module, str], Tensor]


def _readers(
    model: nn.Module, tensors: Mapping[str, Tensor]
) -> Callable[[str, Get], Callable[[], Tensor]]:
    """For a name, a function that reads its present value so that gradients reach the model."""
    slots = find_slots(model)
    buffers = dict(model.named_buffers())

    def reader(name: str, get: Get) -> Callable[[], Tensor]:
        if name not in slots:
            return partial(_value, buffers.get(name, tensors[name]))
        module, attribute = slots[name].holders[0]
        hook = hooks(module).get(attribute, (0, None))[1]
        if isinstance(hook, prune.BasePruningMethod):
            return partial(hook.apply_mask, module)
        if hook is not None:
            raise ModelError(
                f"{name} is computed by {type(hook).__name__}, an old-style hook; the "
                "parametrisations of torch.nn.utils.parametrizations are understood"
            )
        return partial(get, module, attribute)

    return reader


def _value(tensor: Tensor) -> Tensor:
    return tensor


def _stored(module: nn.Module, attribute: str) -> Tensor:
    """The parameter below a mask of filters (a plan reads kept ones only), or what it gives."""
    stacks = getattr(module, "parametrizations", None)
    if isinstance(stacks, nn.ModuleDict) and attribute in stacks:
        stack = stacks[attribute]
        assert isinstance(stack, parametrize.ParametrizationList)
        if all(isinstance(part, Mask) and part.mask.shape[2:].numel() == 1 for part in stack):
            original = stack.original
            assert isinstance(original, Tensor)
            return original
    return _effective(module, attribute)


def _effective(module: nn.Module, attribute: str) -> Tensor:
    value: Tensor = getattr(module, attribute)
    return value
