"""Torch-Pruning on the same network, at the multiply-adds of the compacted one.

As its documentation recommends: group importance by magnitude, a uniform ratio in every layer, the
layers that make the outputs ignored. The ratio is searched for until the multiply-adds agree. A
layer-wise ratio that would empty a group makes Torch-Pruning leave that group whole; so that it
can come down to low ratios, the ratio of each group is capped where one channel is left.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.zoo.networks import Network, behind, macs, tensors

LAYERS = (nn.modules.conv._ConvNd, nn.Linear)
EQUAL = 0.03  # multiply-adds that differ by less are equal
TRIES = 10  # ratios for one target
CLOSEST = 1e-3  # difference of ratios at which the search ends


def installed() -> str | None:
    """Its version, None without it."""
    return version("torch-pruning") if find_spec("torch_pruning") else None


class EqualMacs:
    """Finds the ratio for given multiply-adds; what one search measured serves the next."""

    def __init__(self, network: Network) -> None:
        """Raises what Torch-Pruning raises when it cannot analyse the network."""
        self._network = network
        self.ignored = final_layers(network)
        self._caps = self._find_caps()
        self._macs = {0.0: macs(network.model, network.inputs)}

    def prune(self, ratio: float) -> nn.Module:
        """A pruned copy."""
        model = copy.deepcopy(self._network.model)
        names = dict(model.named_modules())
        ratios = {names[name]: min(ratio, cap) for name, cap in self._caps.items()}
        pruner = self._pruner(model, ratio, ratios)
        pruner.step()
        return model.eval()

    def find(self, target: int) -> dict[str, Any]:
        """The ratio whose multiply-adds come nearest to the target; `prune` makes the network."""
        for _ in range(TRIES):
            best = min(self._macs, key=lambda ratio: abs(self._macs[ratio] - target))
            if abs(self._macs[best] / target - 1) <= EQUAL:
                break
            ratio = self._next(target)
            if ratio is None:
                break
            self._macs[ratio] = macs(self.prune(ratio), self._network.inputs)
        best = min(self._macs, key=lambda ratio: abs(self._macs[ratio] - target))
        equal = abs(self._macs[best] / target - 1) <= EQUAL
        return {"ratio": best, "macs": self._macs[best], "equal": equal}

    def _next(self, target: int) -> float | None:
        """Where the multiply-adds, nearly quadratic in the ratio, should meet the target."""
        above = max(ratio for ratio, found in self._macs.items() if found >= target)
        below = [r for r, found in self._macs.items() if r > above and found < target]
        if not below:
            return None if above == 1.0 else 1.0
        end = min(below)
        if end - above < CLOSEST:
            return None
        high, low = math.sqrt(self._macs[above]), math.sqrt(self._macs[end])
        part = (high - math.sqrt(target)) / (high - low)
        return above + (end - above) * min(max(part, 0.1), 0.9)

    def _pruner(
        self, model: nn.Module, ratio: float, ratios: dict[nn.Module, float] | None = None
    ) -> Any:
        import torch_pruning

        names = dict(model.named_modules())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of unwrapped parameters and its own deprecations
            return torch_pruning.pruner.BasePruner(
                model,
                self._network.inputs,
                importance=torch_pruning.importance.GroupMagnitudeImportance(),
                pruning_ratio=ratio,
                pruning_ratio_dict=ratios,
                ignored_layers=[names[name] for name in self.ignored],
            )

    def _find_caps(self) -> dict[str, float]:
        """By the layer that leads a group, the ratio that leaves it one channel (per block)."""
        model = copy.deepcopy(self._network.model)
        pruner = self._pruner(model, 0.5)
        names = {module: name for name, module in model.named_modules()}
        blocks = {**pruner.in_channel_groups, **pruner.out_channel_groups}
        caps = {}
        groups = pruner.DG.get_all_groups(
            ignored_layers=pruner.ignored_layers, root_module_types=pruner.root_module_types
        )
        for group in groups:
            root = group[0].dep.target.module
            together = max(blocks.get(item.dep.target.module, 1) for item in group)
            cap = 1 - 1.001 * together / pruner.DG.get_out_channels(root)
            if root in names:
                caps[names[root]] = max(cap, 0.0)
        return caps


def final_layers(network: Network) -> Sequence[str]:
    """Names of the layers whose channels are channels of an output.

    Found by walking back from the outputs, through the graph of the gradients, to the first
    convolutions and linear layers.
    """
    model = network.model
    made: dict[Any, str] = {}

    def note(name: str) -> Any:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            for tensor in tensors(output):
                made[tensor.grad_fn] = name

        return hook

    layers = [(name, part) for name, part in model.named_modules() if isinstance(part, LAYERS)]
    hooks = [part.register_forward_hook(note(name)) for name, part in layers]
    try:
        with torch.enable_grad():
            outputs = tensors(model(*_with_gradient(network.inputs)))
    finally:
        for hook in hooks:
            hook.remove()
    return sorted({made[function] for function in behind(outputs, made) if function in made})


def _with_gradient(inputs: tuple[Tensor, ...]) -> list[Tensor]:
    return [t.clone().requires_grad_() if t.is_floating_point() else t for t in inputs]
