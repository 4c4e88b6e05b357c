"""Networks by the names that the command line uses."""

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from leanline.errors import ConfigError
from leanline.models.fcn_resnet50 import FCNResNet50
from leanline.models.msd import MSD
from leanline.models.unet4 import UNet4
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
    factory = _import(name) if ":" in name else NAMED.get(name)
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


def _import(name: str) -> Callable[..., Any]:
    """Imports "package.module:factory"; this runs the module's code."""
    module_name, _, attribute = name.partition(":")
    if os.getcwd() not in sys.path and "" not in sys.path:  # noqa: PTH109 - as Python itself does
        sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(f"model {name!r}: cannot import {module_name!r}: {error}") from error
    except (ValueError, TypeError) as error:
        raise ConfigError(f"model {name!r}: write package.module:factory ({error})") from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        names = [key for key, value in vars(module).items() if callable(value)]
        raise ConfigError(
            f"model {name!r}: {module_name} has no function {attribute!r}"
            f"{nearest(attribute, names)}"
        )
    return factory  # type: ignore[no-any-return]
