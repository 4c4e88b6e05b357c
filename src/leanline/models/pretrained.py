"""Trained networks that ship with the package."""

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from leanline.errors import CheckpointError, ConfigError
from leanline.models.msd import MSD
from leanline.records.settings import nearest
from leanline.records.tensors import load_tensors, save_tensors
from leanline.types import PathLike

NAMES = ("msd50-circle-square",)
"""msd50-circle-square: a 50-layer MS-D, from the raw noisy picture to five classes."""

_SETTINGS = (
    "depth",
    "in_channels",
    "out_channels",
    "width",
    "dilations",
    "padding_mode",
)


def pretrained(name: str) -> MSD:
    """A trained network, in evaluation mode, on the CPU.

    Args:
        name: one of `NAMES`.

    Raises:
        ConfigError: there is no such network.
        CheckpointError: its file is missing, truncated or damaged.
    """
    if name not in NAMES:
        raise ConfigError(
            f"there is no trained network {name!r}{nearest(name, NAMES)}; there are "
            f"{', '.join(NAMES)}"
        )
    source = resources.files("leanline.models") / "weights" / f"{name}.safetensors"
    with resources.as_file(source) as path:
        return load_msd(path)


def save_msd(model: MSD, path: PathLike, notes: Mapping[str, str] | None = None) -> None:
    """Writes an MS-D network with its settings to a safetensors file, atomically.

    The settings stand in the header as JSON under "msd", beside `notes` (such as the command that
    made the file).

    Raises:
        RunError: the file cannot be written.
    """
    settings = json.dumps({key: getattr(model, key) for key in _SETTINGS})
    save_tensors(path, model.state_dict(), {**(notes or {}), "msd": settings})


def load_msd(path: PathLike) -> MSD:
    """Reads a network that `save_msd` wrote; in evaluation mode, on the CPU.

    Raises:
        CheckpointError: the file is missing, truncated, damaged, or holds another network.
    """
    tensors, metadata = load_tensors(path)
    try:
        settings = json.loads(metadata["msd"])
        if len(tensors) != 2 * settings["depth"] + 2:  # before a wrong depth takes the memory
            raise ValueError(f"{len(tensors)} tensors for a depth of {settings['depth']}")
        model = MSD(**{key: settings[key] for key in _SETTINGS})
        model.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{Path(path)} does not hold an MS-D network: {error}") from error
    return model.eval()
