"""Training with single convolutions on the plane kernels, where a whole network cannot be.

The network's own code runs as it is, with its batch norms and whatever else; only convolutions of
which few filters are left are computed by the kernels, forward and backward, where that is faster.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from leanline.compaction.structure import run
from leanline.graph.agreement import deviation
from leanline.masks import baked_copy, get_channel_masks, get_masks
from leanline.runtime.builder import Builder
from leanline.runtime.gather import Gather
from leanline.runtime.interpret import interpret
from leanline.runtime.measured import Measured
from leanline.runtime.parse import Convolution, convolution
from leanline.runtime.planes import Planes

log = logging.getLogger(__name__)

DENSEST = 0.5
"""Part of a layer's filters up to which the kernels are tried."""
TOLERANCE = 1e-4
"""Deviation, relative to the largest output, above which a layer is left alone."""
SECONDS = 0.02
"""Time that is spent on each candidate, which runs twice at least."""


class SparseConvolution(nn.Module):
    """A convolution whose kept filters are computed one by one, with the layer's own parameters.

    Args:
        layer: the layer, with its masks.
        parsed: a copy of it whose numbers say where in its weight and bias they are, 0 for pruned.
        threads: number of threads.
    """

    def __init__(self, layer: nn.Module, parsed: Convolution, threads: int) -> None:
        super().__init__()
        self._layer = (layer,)  # it is part of the network already
        builder = Builder("zeros")
        value = interpret(builder, parsed, [builder.input(parsed.layer.in_channels)], True)
        program, numbers = builder.finish([value])
        self.planes = Planes(program, threads)
        self._gather = Gather(numbers)

    def forward(self, images: Tensor) -> Tensor:
        """Compute the layer; differentiable in images and parameters."""
        layer: Any = self._layer[0]
        numbers = self._gather(layer.weight, *([] if layer.bias is None else [layer.bias]))
        out: Tensor = self.planes([images], numbers)[0]
        return out


class SwappedNetwork(nn.Module):
    """A network that runs its own code, some of its convolutions being computed by others.

    Args:
        model: the network.
        others: what computes some of its layers.
    """

    def __init__(self, model: nn.Module, others: Mapping[nn.Module, nn.Module]) -> None:
        super().__init__()
        self.model = model
        self.others = nn.ModuleList(others.values())
        self._layers = (tuple(others),)  # they are part of the model already

    def forward(self, *inputs: Any) -> Any:
        """Compute the network, in the mode that the model is in."""
        layers = self._layers[0]
        try:
            for layer, other in zip(layers, self.others, strict=True):
                layer.forward = other.forward
            return self.model(*inputs)
        finally:
            for layer in layers:
                vars(layer).pop("forward", None)


def swap_layers(model: nn.Module, inputs: tuple[Any, ...], threads: int) -> nn.Module:
    """Put kernels in the place of the convolutions that they train faster.

    Args:
        model: the network, with its masks.
        inputs: at the size that it is trained with.
        threads: number of threads of the kernels.

    Returns:
        The network, or the model itself where no layer gains.
    """
    measured = Measured()
    layers = dict(model.named_modules())
    shapes = _shapes(model, inputs)
    others: dict[nn.Module, nn.Module] = {}
    with torch.random.fork_rng(devices=[]):
        for name, shape in shapes.items():
            parsed = _numbered(layers[name])
            if parsed is not None:
                other = SparseConvolution(layers[name], parsed, threads)
                if _gains(layers[name], other, shape, measured):
                    others[layers[name]] = other
    measured.save()
    log.info("%d of %d convolutions train on the kernels", len(others), len(shapes))
    return SwappedNetwork(model, others) if others else model


def _shapes(model: nn.Module, inputs: tuple[Any, ...]) -> dict[str, tuple[int, ...]]:
    """Input shape of each convolution, by name, if it is called with one shape only."""
    plain = baked_copy(model).eval()
    found: dict[str, set[tuple[int, ...]]] = {}
    for name, layer in plain.named_modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            seen = found.setdefault(name, set())
            layer.register_forward_pre_hook(
                lambda _, given, seen=seen: seen.add(tuple(given[0].shape))
            )
    run(plain, inputs)
    return {name: next(iter(seen)) for name, seen in found.items() if len(seen) == 1}


def _numbered(layer: nn.Module) -> Convolution | None:
    """The layer with numbers in place of weights, if the kernels can do it and few are left."""
    on_cpu = all(p.device.type == "cpu" for p in layer.parameters())
    if not on_cpu or "forward" in vars(layer):  # timed on the CPU only; not what its class does
        return None
    plain = baked_copy(layer)
    assert isinstance(plain, nn.Conv2d | nn.ConvTranspose2d)
    masks = {**get_masks(layer), **get_channel_masks(layer)}
    kept = masks.get("weight")
    sizes = [p.numel() for p in (plain.weight, plain.bias) if p is not None]
    if kept is None or kept.float().mean() > DENSEST or sum(sizes) >= 1 << 24:
        return None
    if convolution(plain) is None:
        return None
    count = 0
    with torch.no_grad():
        for name in ("weight", "bias"):  # as they are gathered
            parameter = getattr(plain, name)
            if parameter is None:
                continue
            ids = torch.arange(count + 1, count + parameter.numel() + 1).reshape(parameter.shape)
            mask = masks.get(name)
            if mask is not None:
                ids = ids * mask.reshape(*mask.shape, *[1] * (ids.ndim - mask.ndim))
            parameter.copy_(ids)
            count += parameter.numel()
    return convolution(plain)


def _gains(
    layer: nn.Module, other: SparseConvolution, shape: tuple[int, ...], measured: Measured
) -> bool:
    picture = torch.randn(1, *shape[1:])
    with torch.no_grad():
        if not deviation(layer(picture), other(picture)) <= TOLERANCE:
            return False
    program, threads = other.planes.program, other.planes.threads
    weight: Any = layer.weight
    what = (tuple(weight.shape), layer.groups, program.windows.tolist(), shape[1:])
    dense = measured.get(
        ("dense step", torch.get_num_threads(), *what), lambda: step_seconds(layer, picture)
    )
    sparse = measured.get(
        ("planes step", threads, program.source.size, *what), lambda: step_seconds(other, picture)
    )
    return sparse < dense


def step_seconds(layer: nn.Module, picture: Tensor) -> float:
    """Seconds of a forward and backward pass; parameters' gradients stay as they were."""
    given = picture.clone().requires_grad_()
    parameters = [p for p in layer.parameters() if p.requires_grad]
    taken: list[float] = []
    with torch.enable_grad():
        upstream = torch.ones_like(layer(picture))
        end = time.perf_counter() + SECONDS
        while len(taken) < 2 or time.perf_counter() < end:
            start = time.perf_counter()
            output = layer(given)
            torch.autograd.grad(output, [given, *parameters], upstream, allow_unused=True)
            taken.append(time.perf_counter() - start)
    return min(taken)
