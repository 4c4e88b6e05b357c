"""Networks by the names that the command line uses."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from leanline.errors import ConfigError
from leanline.models.fcn_resnet50 import FCNResNet50
from leanline.models.msd import MSD
from leanline.models.unet4 import UNet4
from leanline.records.factories import import_factory
from leanline.records.settings import accepts, call_with_settings, nearest


def msd(
    in_channels: int,
    out_channels: int,
    depth: int = 50,
    width: int = 1,
    dilations: Sequence[int] | None = None,
    padding_mode: str = "zeros",
    seed: int = 0,
) -> MSD:
    """The Mixed-Scale Dense network with 50 layers unless said otherwise; see `MSD`."""
    return MSD(depth, in_channels, out_channels, width, dilations, padding_mode, seed)


def unet4(
    in_channels: int,
    out_channels: int,
    width: int = 64,
    upsampling: str = "transposed",
    seed: int = 0,
) -> UNet4:
    """The U-Net with four scaling operations; see `UNet4`."""
    return UNet4(in_channels, out_channels, width, upsampling, seed)


def fcn_resnet50(
    in_channels: int, out_channels: int, width: int = 64, dropout: float = 0.1, seed: int = 0
) -> FCNResNet50:
    """The fully-convolutional ResNet50; see `FCNResNet50`."""
    return FCNResNet50(in_channels, out_channels, width, dropout, seed)


NAMED: dict[str, Callable[..., nn.Module]] = {
    "msd": msd,
    "unet4": unet4,
    "fcn-resnet50": fcn_resnet50,
}


def make(
    name: str, in_channels: int, out_channels: int | None = None, **settings: Any
) -> nn.Module:
    """Makes a network from its name.

    The name is "msd", "unet4", "fcn-resnet50", or "package.module:factory" for a network of the
    user's own. The latter imports that module (the current folder is searched too) and calls that
    function, so it **runs the code** in it: give only names that you trust.

    Args:
        name: the name.
        in_channels: channels of a picture; passed to a factory that takes them.
        out_channels: classes, or channels of the output; passed to a factory that takes them, None
            leaves it to the factory's own default.
        settings: further arguments of the factory, as values or as text (`depth="50"`).

    Raises:
        ConfigError: an unknown name or setting, a value of the wrong type, a module that cannot be
            imported, a factory that does not return an `nn.Module`.
    """
    owner = f"model {name!r}"
    factory = import_factory(name, owner) if ":" in name else NAMED.get(name)
    if factory is None:
        raise ConfigError(
            f"there is no model {name!r}{nearest(name, NAMED)}; there are {', '.join(NAMED)}, and "
            "package.module:factory for your own"
        )
    for key, value in (("in_channels", in_channels), ("out_channels", out_channels)):
        if value is not None and accepts(factory, key):
            settings.setdefault(key, value)
    model = call_with_settings(factory, settings, owner)
    if not isinstance(model, nn.Module):
        raise ConfigError(f"{owner} returned a {type(model).__name__}, not a torch.nn.Module")
    return model
