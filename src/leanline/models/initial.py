"""Initial values that depend on a seed alone."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


def unset_conv(*arguments: Any, **settings: Any) -> nn.Conv2d:
    """A `Conv2d` whose values are not drawn, so that the global generator is not advanced."""
    layer: nn.Conv2d = nn.utils.skip_init(  # type: ignore[no-untyped-call]
        nn.Conv2d, *arguments, **settings
    )
    return layer


def unset_transposed(*arguments: Any, **settings: Any) -> nn.ConvTranspose2d:
    """The same for a `ConvTranspose2d`."""
    layer: nn.ConvTranspose2d = nn.utils.skip_init(  # type: ignore[no-untyped-call]
        nn.ConvTranspose2d, *arguments, **settings
    )
    return layer


@torch.no_grad()
def draw_filters(fans: Mapping[nn.Conv2d | nn.ConvTranspose2d, float], seed: int) -> None:
    """Draw the filters of convolutions and set their biases to zero.

    The filters of a layer are normal with sigma = sqrt(2 / fan) (He et al., "Delving deep into
    rectifiers", 2015, equations 10 and 14).

    Args:
        fans: each layer with its fan, drawn in this order.
        seed: of the generator, which is on the CPU; the global random state is not used.
    """
    generator = torch.Generator().manual_seed(seed)
    for layer, fan in fans.items():
        drawn = torch.randn(layer.weight.shape, generator=generator)
        layer.weight.copy_(drawn.mul_(math.sqrt(2.0 / fan)))
        if layer.bias is not None:
            layer.bias.zero_()
