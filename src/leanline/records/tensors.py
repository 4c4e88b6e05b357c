"""Files of tensors: safetensors with a checksum of their content."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from leanline.errors import CheckpointError, RunError
from leanline.records.atomic import write_bytes
from leanline.types import PathLike

CHECKSUM = "sha256"
"""The metadata key that holds the checksum of the tensors and of the rest of the metadata."""


def save_tensors(
    path: PathLike, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> str:
    """Write tensors and text to a safetensors file, atomically.

    Args:
        path: The file.
        tensors: Any shapes, types and devices; views and shared storage are written out in full.
        metadata: Text that travels with the tensors.

    Returns:
        The checksum, 64 hexadecimal digits; equal content gives an equal checksum.

    Raises:
        RunError: The file cannot be written.
    """
    plain = {name: tensors[name].detach().cpu().contiguous().clone() for name in sorted(tensors)}
    text = dict(metadata or {})
    text[CHECKSUM] = checksum(plain, text)
    write_bytes(path, safetensors.torch.save(plain, metadata=text))
    return text[CHECKSUM]


def load_tensors(path: PathLike) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors and the text that `save_tensors` wrote.

    Returns:
        The tensors on the CPU, and the metadata, its checksum included.

    Raises:
        CheckpointError: The file is missing, truncated, damaged or no safetensors file; one that
            was not written by leanline is damaged too, since it has no checksum.
    """
    file = Path(path)
    if not file.is_file():
        raise CheckpointError(f"there is no file {file}")
    try:
        with safetensors.safe_open(file, framework="pt", device="cpu") as opened:
            metadata = dict(opened.metadata() or {})
            tensors = {name: opened.get_tensor(name) for name in sorted(opened.keys())}
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{file} is truncated or no safetensors file: {error}") from error
    if metadata.get(CHECKSUM) != checksum(tensors, metadata):
        raise CheckpointError(f"{file} is damaged: its content does not match its checksum")
    return tensors, metadata


def checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Return the SHA-256 of contiguous CPU tensors and text, in hexadecimal digits.

    A checksum among the metadata does not count.
    """
    text = {key: value for key, value in metadata.items() if key != CHECKSUM}
    digest = hashlib.sha256(json.dumps(text, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        # bytes by way of uint8: NumPy has no bfloat16
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def remove_tensors(path: PathLike) -> None:
    """Remove a file of tensors; one that is not there is no error.

    Raises:
        RunError: The system refused.
    """
    try:
        Path(path).unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"cannot remove {path}: {error.strerror}") from error
