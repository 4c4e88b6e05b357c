"""U-Net4: a U-Net with four scaling operations and average pooling (section 4.5.2)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from leanline.errors import ConfigError, ModelError
from leanline.models.initial import draw_filters, unset_conv, unset_transposed

UPSAMPLINGS = ("transposed", "bilinear")

LEVELS = 4
"""How often a picture is halved."""


class UNet4(nn.Module):
    """U-Net with four scaling operations, batch norm and average pooling.

    Each level has two 3x3 convolutions, each with batch norm and ReLU. The encoder's levels have
    w, 2w, 4w, 8w and 8w channels (w = `width`), with 2 x 2 average pooling between them, for which
    the thesis gives its reason in section 4.5.2: it is linear, so it has an operator norm. The
    decoder doubles the size, appends the encoder's channels of that size, and leaves 4w, 2w, w and
    w channels. A final 1x1 convolution returns logits (or grey values), unbounded.

    The picture keeps its size, which need not be a multiple of 16: where pooling drops a row or
    column, the decoder appends one of zeros.

    With the defaults and one input channel the network has the 1.84e6 filters and, for any small
    number of classes, the 1.48e7 parameters of Table 4.1: it is transposed convolutions, which the
    table lists, and a lowest level of 8w channels, not 16w, that give those. The convolutions have
    biases, as in the PyTorch-UNet of that time, though batch norm makes them redundant; without
    them the table's figures would be the same. The final 1x1 layer is pruned too, since the thesis
    excludes that of MS-D only; `ignore=("final",)` leaves it alone.

    Initial values: filters are normal with sigma = sqrt(2 / fan-in) before a ReLU (He et al. 2015)
    and sqrt(1 / fan-in) elsewhere; biases and batch-norm shifts are zero, scales one.

    Args:
        in_channels: channels of the input picture.
        out_channels: classes, or channels of the output picture.
        width: channels of the first level.
        upsampling: "transposed" (2 x 2 transposed convolutions of stride 2) or "bilinear"
            (interpolation with aligned corners, nothing to learn).
        seed: of the initial values. The global random state is neither read nor changed.

    Raises:
        ConfigError: a count below 1, or an unknown `upsampling`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        width: int = 64,
        upsampling: str = "transposed",
        seed: int = 0,
    ) -> None:
        super().__init__()
        counts = {"in_channels": in_channels, "out_channels": out_channels, "width": width}
        for name, value in counts.items():
            if value < 1:
                raise ConfigError(f"UNet4({name}={value}): {name} must be at least 1")
        if upsampling not in UPSAMPLINGS:
            raise ConfigError(
                f"UNet4(upsampling={upsampling!r}): must be one of {', '.join(UPSAMPLINGS)}"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.width = width
        self.upsampling = upsampling
        down = [width * 2 ** min(level, LEVELS - 1) for level in range(LEVELS + 1)]
        up = [max(width, skip // 2) for skip in reversed(down[:-1])]
        self.encoder = nn.ModuleList(
            _double_conv(given, wanted)
            for given, wanted in zip([in_channels, *down], down, strict=False)
        )
        self.pool = nn.AvgPool2d(2)
        self.upsample = nn.ModuleList(_double_size(skip, upsampling) for skip in down[-2::-1])
        self.decoder = nn.ModuleList(
            _double_conv(2 * skip, wanted) for skip, wanted in zip(down[-2::-1], up, strict=True)
        )
        self.final = unset_conv(width, out_channels, kernel_size=1)
        self.reset_parameters(seed)

    @torch.no_grad()
    def reset_parameters(self, seed: int = 0) -> None:
        """Draws the initial values again (see the class for the rule)."""
        fans: dict[nn.Conv2d | nn.ConvTranspose2d, float] = {}
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
            elif isinstance(module, nn.ConvTranspose2d):  # each output pixel reads one input pixel
                fans[module] = 2.0 * module.in_channels
            elif isinstance(module, nn.Conv2d):
                taps = module.kernel_size[0] * module.kernel_size[1]
                fans[module] = float(module.in_channels * (taps if taps > 1 else 2))
        draw_filters(fans, seed)

    def forward(
        self, x: Float[Tensor, "batch in_channels height width"]
    ) -> Float[Tensor, "batch out_channels height width"]:
        """Returns logits (segmentation) or grey values (denoising), one per pixel and channel.

        Raises:
            ModelError: a picture of fewer than 16 pixels in height or width.
        """
        least = 2**LEVELS
        if not torch.compiler.is_compiling() and min(x.shape[-2:]) < least:
            raise ModelError(
                f"UNet4 got a picture of {x.shape[-2]} x {x.shape[-1]} pixels; it is halved "
                f"{LEVELS} times, which needs at least {least} pixels each way"
            )
        skips: list[Tensor] = []
        for block in self.encoder:
            if skips:
                x = self.pool(x)
            x = block(x)
            skips.append(x)
        skips.pop()
        for double, block in zip(self.upsample, self.decoder, strict=True):
            skip = skips.pop()
            x = block(torch.cat((skip, _pad_to(double(x), skip)), dim=1))
        logits: Tensor = self.final(x)
        return logits

    def extra_repr(self) -> str:
        """What the constructor was given."""
        return (
            f"in_channels={self.in_channels}, out_channels={self.out_channels}, "
            f"width={self.width}, upsampling={self.upsampling!r}"
        )


def _double_conv(given: int, wanted: int) -> nn.Sequential:
    return nn.Sequential(
        unset_conv(given, wanted, kernel_size=3, padding=1),
        nn.BatchNorm2d(wanted),
        nn.ReLU(),
        unset_conv(wanted, wanted, kernel_size=3, padding=1),
        nn.BatchNorm2d(wanted),
        nn.ReLU(),
    )


def _double_size(channels: int, upsampling: str) -> nn.Module:
    if upsampling == "transposed":
        return unset_transposed(channels, channels, kernel_size=2, stride=2)
    return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)


def _pad_to(x: Tensor, like: Tensor) -> Tensor:
    """Append the row and column that pooling has dropped."""
    rows, columns = like.shape[-2] - x.shape[-2], like.shape[-1] - x.shape[-1]
    # In an export with dynamic sizes these are no numbers yet, and may turn out 0 or 1.
    if not any(not isinstance(count, int) or count for count in (rows, columns)):
        return x
    return F.pad(x, (0, columns, 0, rows))
