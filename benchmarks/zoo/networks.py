"""The networks of a file, made ready: batch norms calibrated, called with tensors only."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import TreeSpec, tree_flatten, tree_leaves, tree_unflatten
from torch.utils.flop_counter import FlopCounterMode

CALIBRATION = 8  # batches of the example's size from which batch norms take their statistics


@dataclass(frozen=True)
class Network:
    """A network to measure.

    Attributes:
        model: in eval mode, batch norms calibrated.
        inputs: what it is called with, tensors only.
        adapted: it takes a dictionary or list, and is called through `Flat`.
        calibration: which statistics its batch norms hold, for people.
    """

    model: nn.Module
    inputs: tuple[Tensor, ...]
    adapted: bool
    calibration: str


class Flat(nn.Module):
    """A network that takes dictionaries or lists, called with the tensors in them."""

    def __init__(self, model: nn.Module, spec: TreeSpec) -> None:
        super().__init__()
        self.model = model
        self.spec = spec

    def forward(self, *tensors: Tensor) -> Any:
        """What the network returns."""
        return self.model(*tree_unflatten(list(tensors), self.spec))


def load_file(path: Path) -> ModuleType:
    """Import a file that offers `DEV` (names) and `build(name)` -> (model, inputs, ...)."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    missing = [name for name in ("DEV", "build") if not hasattr(module, name)]
    if missing:
        raise SystemExit(f"{path} has no {missing[0]}: it must offer DEV and build(name)")
    return module


def make(build: Callable[[str], tuple[Any, ...]], name: str) -> Network:
    """Build a network and calibrate it."""
    model, inputs = build(name)[:2]
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    adapted = not all(isinstance(item, Tensor) for item in inputs)
    if adapted:
        leaves, spec = tree_flatten(inputs)
        model, inputs = Flat(model, spec), tuple(leaves)
    model = model.eval()
    return Network(model, inputs, adapted, calibrate(model, inputs))


def draw(
    inputs: tuple[Tensor, ...], seed: int, batches: int = 1, spread: float = 1.0
) -> tuple[Tensor, ...]:
    """Normal inputs of the example's mean, spread and shape.

    Args:
        inputs: the example; what is no floating-point number stays as it is.
        seed: of the generator.
        batches: how many batches of the example's size are put into one.
        spread: as a multiple of the example's.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for tensor in inputs:
        if tensor.ndim:
            tensor = tensor.repeat(batches, *[1] * (tensor.ndim - 1))
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=generator)
            deviation = float(tensor.std()) if tensor.numel() > 1 else 1.0
            tensor = (spread * deviation * noise + tensor.mean()).to(tensor.dtype)
        drawn.append(tensor)
    return tuple(drawn)


def enlarged(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Images of twice the height and width, and two for each in the batch."""
    return tuple(
        tensor.repeat(2, 1, *[2] * (tensor.ndim - 2))
        if tensor.ndim > 2 and tensor.is_floating_point()
        else tensor
        for tensor in inputs
    )


def macs(model: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    """Multiply-adds of one call, as PyTorch's own counter counts them."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(*inputs)
    return int(counter.get_total_flops()) // 2


def parameters(model: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    """Numbers in the parameters that the outputs depend on.

    Layers that a network owns and does not use would flatter whoever drops them.
    """
    with _differentiable(model), torch.enable_grad():
        outputs = tensors(model(*inputs))
        used = {id(getattr(function, "variable", None)) for function in behind(outputs)}
        return sum(tensor.numel() for tensor in model.parameters() if id(tensor) in used)


def behind(outputs: Iterable[Tensor], stop: Container[Any] = ()) -> Iterator[Any]:
    """Functions in the graph of the gradients, from the outputs back to those in `stop`."""
    waiting, seen = [tensor.grad_fn for tensor in outputs], set()
    while waiting:
        function = waiting.pop()
        if function is not None and function not in seen:
            seen.add(function)
            yield function
            if function not in stop:
                waiting.extend(before for before, _ in function.next_functions)


def tensors(output: object) -> list[Tensor]:
    """The tensors that a network returns."""
    return [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]


def is_image_to_image(network: Network) -> bool:
    """Whether the first output is an image of the first input's size, or a larger one."""
    with torch.no_grad():
        first = tensors(network.model(*network.inputs))[0]
    image = network.inputs[0]
    sizes = zip(first.shape[2:], image.shape[2:], strict=False)
    return first.ndim == image.ndim > 2 and all(have >= want for have, want in sizes)


def calibrate(model: nn.Module, inputs: tuple[Tensor, ...]) -> str:
    """Give batch norms the statistics of random inputs; everything else stays in eval mode."""
    norms = [part for part in model.modules() if isinstance(part, _BatchNorm)]
    norms = [norm for norm in norms if norm.track_running_stats]
    if not norms:
        return "no batch norm"
    problem = ""
    for batches in (CALIBRATION, 1):
        try:
            with torch.no_grad(), _collecting(norms):
                model(*draw(inputs, seed=1, batches=batches))
            return f"{len(norms)} batch norms, from a batch of {batches * inputs[0].shape[0]}"
        except (RuntimeError, ValueError) as error:  # a fixed batch size; one value a channel
            problem = str(error).partition("\n")[0]
    return f"as built: {problem}"


@contextmanager
def _collecting(norms: list[_BatchNorm]) -> Iterator[None]:
    before = [(norm, norm.momentum, _copied(norm)) for norm in norms]
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
            norm.train()
        yield
    except (RuntimeError, ValueError):
        for norm, _, state in before:
            norm.load_state_dict(state)
        raise
    finally:
        for norm, momentum, _ in before:
            norm.momentum = momentum
            norm.eval()


@contextmanager
def _differentiable(model: nn.Module) -> Iterator[None]:
    """Let all parameters take gradients."""
    frozen = [tensor for tensor in model.parameters() if not tensor.requires_grad]
    for tensor in frozen:
        tensor.requires_grad_()
    try:
        yield
    finally:
        for tensor in frozen:
            tensor.requires_grad_(False)


def _copied(norm: _BatchNorm) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in norm.state_dict().items()}
