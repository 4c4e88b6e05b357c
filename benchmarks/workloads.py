"""The networks that are timed, and what is pruned of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import leanline as ll
from benchmarks.random_filters import random_filters
from benchmarks.retrained import lean_retrained

SIZE = 256
LEAN, RANDOM, RETRAINED = "LEAN", "random filters", "LEAN, retrained in stages"

Rule = Callable[[nn.Module, Tensor, float], Mapping[str, Tensor]]
RULES: Mapping[str, Rule] = {
    LEAN: lambda model, image, keep: ll.select(model, image, keep=keep, criterion=ll.Lean()),
    RANDOM: random_filters,
    RETRAINED: lean_retrained,
}
"""How filters are chosen; random ones are the same fraction of every layer."""


@dataclass(frozen=True)
class Network:
    """A network to time.

    Attributes:
        name: as results call it.
        make: makes the dense network, in eval mode.
        keeps: fractions of its filters.
        rules: how they are chosen, keys of `RULES`.
    """

    name: str
    make: Callable[[], nn.Module]
    keeps: tuple[float, ...]
    rules: tuple[str, ...] = (LEAN, RANDOM)


@dataclass(frozen=True)
class Variant:
    """A network, pruned.

    Attributes:
        network: which.
        rule: a key of `RULES`.
        keep: fraction of its filters.
    """

    network: Network
    rule: str
    keep: float

    @property
    def name(self) -> str:
        """Rule and fraction."""
        return f"{self.rule}, {100 * self.keep:g} %"

    def make(self) -> nn.Module:
        """The network with its masks, cleaned."""
        model, image = self.network.make(), picture(self.network.make())
        ll.apply_masks(model, RULES[self.rule](model, image, self.keep))
        ll.clean(model, image)
        return model


def picture(network: nn.Module, batch: int = 1) -> Tensor:
    """Random pictures as a network takes them, 256 x 256."""
    channels = getattr(network, "in_channels", 1)
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, channels, SIZE, SIZE, generator=generator)


def _shipped() -> nn.Module:
    return ll.models.pretrained("msd50-circle-square").eval()


def _msd() -> nn.Module:
    return ll.models.MSD(100, 1, 5).eval()


def _unet() -> nn.Module:
    """Untrained, with the batch norms' statistics of random pictures."""
    model = ll.models.UNet4(1, 5)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean over all pictures
    with torch.no_grad():
        model.train()(picture(model))
    return model.eval()


MSD50 = Network("MS-D, 50 layers (shipped)", _shipped, (0.05,))
MSD100 = Network("MS-D, 100 layers (untrained)", _msd, (0.025, 0.05, 0.158))
UNET = Network("U-Net4 (untrained)", _unet, (0.01, 0.1), (LEAN, RETRAINED, RANDOM))


def variants(network: Network) -> list[Variant]:
    """Each rule at each fraction."""
    return [Variant(network, rule, keep) for keep in network.keeps for rule in network.rules]
