"""The Mixed-Scale Dense network (Pelt & Sethian 2018; section 4.5.2 of the thesis)."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from leanline.errors import ConfigError, ModelError

PADDING_MODES = ("zeros", "replicate", "reflect")


class MSD(nn.Module):
    """Mixed-Scale Dense network: every layer reads the input and all layers before it.

    Layer i is a dilated 3x3 convolution from all channels so far to `width` new ones, then a ReLU;
    a final 1x1 convolution reads everything and returns logits (or grey values), unbounded.
    The picture keeps its size. The final layer is never pruned (section 4.5.2: it costs less than
    0.5 % of the FLOPs), which `leanline_ignore` says to the tracer.

    The state dict holds `convs.{i}.weight`, `convs.{i}.bias`, `final.weight` and `final.bias`.

    Initial values follow msd_pytorch (Hendriksen et al.; after Pelt & Sethian 2018): the 3x3
    filters are normal with sigma = sqrt(2 / (9 (in + width (depth - 1)) + out)), one sigma for all
    layers, and biases are zero. msd_pytorch sets the final layer to zero; here it is drawn with
    the same sigma, so that the output of an untrained network depends on its input.

    Args:
        depth: number of 3x3 layers, at least 1.
        in_channels: channels of the input picture.
        out_channels: classes, or channels of the output picture.
        width: channels that each layer adds.
        dilations: dilation of each layer, repeated when shorter than `depth`; by default
            1 + (i mod 10), as in section 4.5.2.
        padding_mode: "zeros", "replicate" (repeats the edge pixel, as msd_pytorch does) or
            "reflect" (the picture must be larger than the largest dilation).
        seed: of the initial values. The global random state is neither read nor changed.

    Raises:
        ConfigError: a count below 1, no dilation or one below 1, an unknown padding mode.
    """

    leanline_ignore: ClassVar[tuple[str, ...]] = ("final",)

    def __init__(
        self,
        depth: int,
        in_channels: int,
        out_channels: int,
        width: int = 1,
        dilations: Sequence[int] | None = None,
        padding_mode: str = "zeros",
        seed: int = 0,
    ) -> None:
        super().__init__()
        counts = {
            "depth": depth,
            "in_channels": in_channels,
            "out_channels": out_channels,
            "width": width,
        }
        for name, value in counts.items():
            if value < 1:
                raise ConfigError(f"MSD({name}={value}): {name} must be at least 1")
        cycle = tuple(range(1, 11)) if dilations is None else tuple(dilations)
        if not cycle or min(cycle) < 1:
            raise ConfigError(
                f"MSD(dilations={cycle}): give one or more dilations, each at least 1"
            )
        if padding_mode not in PADDING_MODES:
            raise ConfigError(
                f"MSD(padding_mode={padding_mode!r}): must be one of {', '.join(PADDING_MODES)}"
            )
        self.depth = depth
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.width = width
        self.dilations = tuple(cycle[i % len(cycle)] for i in range(depth))
        self.padding_mode = padding_mode
        # skip_init leaves the values unset, so that the global generator is not advanced.
        self.convs = nn.ModuleList(
            nn.utils.skip_init(  # type: ignore[no-untyped-call]
                nn.Conv2d,
                in_channels + i * width,
                width,
                kernel_size=3,
                padding=dilation,
                dilation=dilation,
                padding_mode=padding_mode,
            )
            for i, dilation in enumerate(self.dilations)
        )
        self.final = nn.utils.skip_init(  # type: ignore[no-untyped-call]
            nn.Conv2d, in_channels + depth * width, out_channels, kernel_size=1
        )
        self.reset_parameters(seed)

    @torch.no_grad()
    def reset_parameters(self, seed: int = 0) -> None:
        """Draws the initial values again (see the class for the rule)."""
        generator = torch.Generator().manual_seed(seed)
        fan = 9 * (self.in_channels + self.width * (self.depth - 1)) + self.out_channels
        sigma = (2.0 / fan) ** 0.5
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            else:
                drawn = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(sigma * drawn)

    def forward(
        self, x: Float[Tensor, "batch in_channels height width"]
    ) -> Float[Tensor, "batch out_channels height width"]:
        """Returns logits (segmentation) or grey values (denoising), one per pixel and channel.

        Raises:
            ModelError: with `padding_mode="reflect"`, a picture not larger than a dilation.
        """
        if self.padding_mode == "reflect" and not torch.compiler.is_compiling():
            smallest, largest = min(x.shape[-2:]), max(self.dilations)
            if smallest <= largest:
                raise ModelError(
                    f"MSD with padding_mode='reflect' got a picture of {x.shape[-2]} x "
                    f"{x.shape[-1]} pixels, but reflecting by its largest dilation {largest} needs "
                    f"at least {largest + 1} pixels each way; use larger pictures, smaller "
                    "dilations, or padding_mode='replicate'"
                )
        features = x
        for conv in self.convs:
            features = torch.cat((features, torch.relu(conv(features))), dim=1)
        logits: Tensor = self.final(features)
        return logits

    def extra_repr(self) -> str:
        """What the constructor was given."""
        return (
            f"depth={self.depth}, in_channels={self.in_channels}, "
            f"out_channels={self.out_channels}, width={self.width}, "
            f"padding_mode={self.padding_mode!r}"
        )
