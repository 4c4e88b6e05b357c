"""FCN-ResNet50: a dilated ResNet50 with a fully-convolutional head (section 4.5.2)."""

from collections.abc import Collection, Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from leanline.errors import CheckpointError, ConfigError
from leanline.models.initial import draw_filters, unset_conv

BLOCKS = (3, 4, 6, 3)
"""Bottleneck blocks in each of the four layers of a ResNet50."""

EXPANSION = 4
"""Channels that a bottleneck block puts out for each of its inner ones."""

_SHOWN = 3


class FCNResNet50(nn.Module):
    """Fully-convolutional ResNet50 for segmentation, with average pooling.

    A 7x7 convolution of stride 2 and 3x3 average pooling of stride 2 (padding 1, counted, so that
    it is a strided convolution) take the picture to a quarter of its size, the second of four
    layers of bottleneck blocks to an eighth; the third and the fourth are dilated by 2 and 4
    instead of strided. The head is a 3x3 convolution, dropout and a 1x1 convolution to logits,
    which are interpolated to the size of the picture, any size.

    It is torchvision's `fcn_resnet50` (weights=None, no auxiliary classifier) with average pooling
    in place of the max pooling, for which the thesis gives its reason in section 4.5.2: it is
    linear, so it has an operator norm. Names and shapes of the state dict are torchvision's
    ("backbone.layer1.0.conv1.weight", "classifier.4.bias"); see `load_torchvision`.

    With the defaults and one input channel the network has the 1.44e7 filters and, for any small
    number of classes, the 3.29e7 parameters of Table 4.1. The residual connections, unprunable
    edges of weight 1, are not among the 1.44e7. The last layer, `classifier.4`, is pruned too,
    since the thesis excludes that of MS-D only; `ignore=("classifier.4",)` leaves it alone.

    Initial values: filters are normal with sigma = sqrt(2 / fan-out) (He et al. 2015, torchvision's
    rule for the backbone), those of the last layer with sqrt(1 / fan-in); biases and batch-norm
    shifts are zero, scales one.

    Args:
        in_channels: channels of the input picture.
        out_channels: classes.
        width: channels of the first convolution; 64 in a ResNet50, all others are in proportion.
        dropout: probability with which the head drops a value in training, at least 0, below 1.
        seed: of the initial values. The global random state is neither read nor changed.

    Raises:
        ConfigError: a count below 1, or a dropout outside [0, 1).
    """

    leanline_skip_weights: ClassVar[tuple[str, ...]] = ("aux_classifier",)
    """Modules that a file of weights may hold beside the network's: torchvision's second head."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        width: int = 64,
        dropout: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        counts = {"in_channels": in_channels, "out_channels": out_channels, "width": width}
        for name, value in counts.items():
            if value < 1:
                raise ConfigError(f"FCNResNet50({name}={value}): {name} must be at least 1")
        if not 0 <= dropout < 1:
            raise ConfigError(
                f"FCNResNet50(dropout={dropout}): give a probability of at least 0 and below 1"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.width = width
        self.backbone = _Backbone(in_channels, width)
        wide = 8 * width * EXPANSION
        self.classifier = nn.Sequential(
            unset_conv(wide, wide // 4, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(wide // 4),
            nn.ReLU(),
            nn.Dropout(dropout),
            unset_conv(wide // 4, out_channels, kernel_size=1),
        )
        self.reset_parameters(seed)

    @torch.no_grad()
    def reset_parameters(self, seed: int = 0) -> None:
        """Draws the initial values again (see the class for the rule)."""
        fans: dict[nn.Conv2d | nn.ConvTranspose2d, float] = {}
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
            elif isinstance(module, nn.Conv2d):
                taps = module.kernel_size[0] * module.kernel_size[1]
                fans[module] = float(module.out_channels * taps)
        last = self.classifier[-1]
        assert isinstance(last, nn.Conv2d)
        fans[last] = 2.0 * last.in_channels
        draw_filters(fans, seed)

    def forward(
        self, x: Float[Tensor, "batch in_channels height width"]
    ) -> Float[Tensor, "batch out_channels height width"]:
        """Returns logits, one per pixel and class."""
        logits = self.classifier(self.backbone(x))
        return F.interpolate(logits, size=x.shape[-2:], mode="bilinear", align_corners=False)

    def load_torchvision(
        self, state: Mapping[str, Tensor], skip: Collection[str] = leanline_skip_weights
    ) -> None:
        """Takes the weights of torchvision's `fcn_resnet50`.

        They were trained with max pooling: the network computes something else with them until it
        is trained further.

        Args:
            state: its `state_dict()`.
            skip: modules whose entries are not taken, and which keep their values here if they
                have any: by default the auxiliary classifier. For another number of classes, give
                `skip=("aux_classifier", "classifier.4")`.

        Raises:
            CheckpointError: a name is missing, unknown or of another shape; nothing is taken then.
        """
        wanted, given = (
            {name: value for name, value in values.items() if not _within(name, skip)}
            for values in (self.state_dict(), state)
        )
        problems = [f"{name} is missing" for name in wanted.keys() - given.keys()]
        problems += [f"{name} is not in the network" for name in given.keys() - wanted.keys()]
        problems += [
            f"{name} is {tuple(given[name].shape)}, not {tuple(wanted[name].shape)}"
            for name in wanted.keys() & given.keys()
            if given[name].shape != wanted[name].shape
        ]
        if problems:
            more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
            raise CheckpointError(
                "this is no state dict of torchvision's fcn_resnet50 with the channels of "
                f"{type(self).__name__}({self.extra_repr()}): "
                f"{'; '.join(sorted(problems)[:_SHOWN])}{more}"
            )
        self.load_state_dict(given, strict=False)

    def extra_repr(self) -> str:
        """What the constructor was given."""
        return (
            f"in_channels={self.in_channels}, out_channels={self.out_channels}, width={self.width}"
        )


class _Backbone(nn.Module):
    """A ResNet50 without its classifier, an eighth of the picture's size."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = unset_conv(in_channels, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.avgpool = nn.AvgPool2d(kernel_size=3, stride=2, padding=1)
        wide = EXPANSION * width
        self.layer1 = _layer(BLOCKS[0], width, width, stride=1, dilations=(1, 1))
        self.layer2 = _layer(BLOCKS[1], wide, 2 * width, stride=2, dilations=(1, 1))
        # The stride of 2 becomes a dilation from the next convolution on.
        self.layer3 = _layer(BLOCKS[2], 2 * wide, 4 * width, stride=1, dilations=(1, 2))
        self.layer4 = _layer(BLOCKS[3], 4 * wide, 8 * width, stride=1, dilations=(2, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.relu(self.bn1(self.conv1(x))))
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
        return x


class _Bottleneck(nn.Module):
    """1x1 to few channels, 3x3, 1x1 to many; added to its input."""

    def __init__(self, given: int, inner: int, stride: int, dilation: int) -> None:
        super().__init__()
        wanted = EXPANSION * inner
        self.conv1 = unset_conv(given, inner, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = unset_conv(
            inner,
            inner,
            kernel_size=3,
            stride=stride,
            padding=dilation,
            dilation=dilation,
            bias=False,
        )
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = unset_conv(inner, wanted, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(wanted)
        self.relu = nn.ReLU()
        self.downsample: nn.Module | None = None
        if stride > 1 or given != wanted:
            self.downsample = nn.Sequential(
                unset_conv(given, wanted, kernel_size=1, stride=stride, bias=False),
                nn.BatchNorm2d(wanted),
            )

    def forward(self, x: Tensor) -> Tensor:
        inner = self.relu(self.bn1(self.conv1(x)))
        inner = self.relu(self.bn2(self.conv2(inner)))
        inner = self.bn3(self.conv3(inner))
        shortcut = x if self.downsample is None else self.downsample(x)
        result: Tensor = self.relu(inner + shortcut)
        return result


def _layer(
    count: int, given: int, inner: int, stride: int, dilations: tuple[int, int]
) -> nn.Sequential:
    """Blocks of one layer; the first has the stride and the first dilation."""
    first, others = dilations
    blocks = [_Bottleneck(given, inner, stride, first)]
    blocks += [_Bottleneck(EXPANSION * inner, inner, 1, others) for _ in range(count - 1)]
    return nn.Sequential(*blocks)


def _within(name: str, modules: Collection[str]) -> bool:
    """Whether a parameter lies in one of the modules."""
    return any(name.startswith(module + ".") for module in modules)
