"""Weights from a file of the user's own: safetensors, or PyTorch's format without pickled code."""

import hashlib
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from leanline.errors import CheckpointError, ConfigError
from leanline.records.tensors import CHECKSUM, load_tensors

_PYTORCH = (".pt", ".pth", ".ckpt", ".bin")
_NESTED = ("state_dict", "model_state_dict", "model")
_SHOWN = 3


def load_weights(network: nn.Module, file: Path) -> str:
    """Give a network the weights of a file.

    Args:
        network: changed in place.
        file: safetensors, or what `torch.save` wrote of a state dict (also under "state_dict",
            "model_state_dict" or "model"); nothing in it is executed. Entries of the modules that
            the network names in `leanline_skip_weights` are left out.

    Returns:
        The SHA-256 of the file, in hexadecimal digits.

    Raises:
        ConfigError: the suffix is of no kind of weights.
        CheckpointError: the file is missing, truncated, damaged or of another network.
    """
    if file.suffix not in (".safetensors", *_PYTORCH):
        raise ConfigError(
            f"--weights {file}: give a file of weights, .safetensors or {', '.join(_PYTORCH)}"
        )
    try:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise CheckpointError(f"cannot read {file}: {error.strerror}") from error
    found = _safetensors(file) if file.suffix == ".safetensors" else _pytorch(file)
    skipped = tuple(f"{name}." for name in getattr(network, "leanline_skip_weights", ()))
    _fit(network, {k: v for k, v in found.items() if not k.startswith(skipped)}, file)
    return digest


def _safetensors(file: Path) -> dict[str, Tensor]:
    try:
        with safetensors.safe_open(file, framework="pt") as opened:
            ours = CHECKSUM in (opened.metadata() or {})
        return load_tensors(file)[0] if ours else safetensors.torch.load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{file} is truncated or no safetensors file: {error}") from error


def _pytorch(file: Path) -> dict[str, Tensor]:
    try:
        content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{file} is damaged or holds more than weights, which is not loaded because it could "
            "run code; save model.state_dict() alone"
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{file} is truncated or no PyTorch file: {error}") from error
    if isinstance(content, Mapping):
        content = next((content[key] for key in _NESTED if key in content), content)
    if not isinstance(content, Mapping) or not all(
        isinstance(value, torch.Tensor) for value in content.values()
    ):
        raise CheckpointError(f"{file} holds no state dict; save model.state_dict()")
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def _fit(network: nn.Module, found: Mapping[str, Tensor], file: Path) -> None:
    wanted = network.state_dict()
    problems = [f"{name} is missing" for name in wanted if name not in found]
    problems += [f"{name} is not in the network" for name in found if name not in wanted]
    problems += [
        f"{name} is {_size(found[name])} in the file and {_size(wanted[name])} in the network"
        for name in wanted
        if name in found and found[name].shape != wanted[name].shape
    ]
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise CheckpointError(f"{file} is of another network: {'; '.join(problems[:_SHOWN])}{more}")
    network.load_state_dict(dict(found))


def _size(tensor: Tensor) -> str:
    return " x ".join(str(n) for n in tensor.shape) or "a single number"
