"""From the values of a file to those of a network, and back to what is written."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Integer, Shaped
from torch import Tensor

from leanline.data import Normalisation
from leanline.errors import ConfigError

OUTPUTS = ("labels", "probabilities", "raw", "picture", "values")
"""What can be written: the most likely class of each pixel (uint8; uint16 above 256 classes), the
probability of each class (float32), the network's output as it is (float32), a picture of the
input's dtype (clipped and rounded where it holds whole numbers), or a picture in the units of the
input as float32."""


def default_output(channels: int, outputs: int) -> str:
    """What is meant where nothing was said.

    Args:
        channels: of the input.
        outputs: channels of the network's output.

    Raises:
        ConfigError: it could be classes or colours.
    """
    if outputs == channels == 1:
        return "picture"
    if outputs > 1 and outputs != channels:
        return "labels"
    raise ConfigError(
        f"the network makes {outputs} channels of {channels}: say by --output whether they are "
        "classes (labels) or a picture (picture)"
    )


def form_of(output: str, outputs: int, dtype: np.dtype[Any]) -> tuple[np.dtype[Any], int | None]:
    """The dtype of what is written, and its channels: None where a slice is one grey picture.

    Args:
        output: one of `OUTPUTS`.
        outputs: channels of the network's output.
        dtype: of the input.

    Raises:
        ConfigError: an unknown output, or labels of a single class.
    """
    if output not in OUTPUTS:
        raise ConfigError(f"output={output!r}: must be one of {', '.join(OUTPUTS)}")
    if output == "labels":
        if outputs < 2:
            raise ConfigError(
                "the network has one output channel, which makes no classes: --output "
                "probabilities, raw or picture"
            )
        return np.dtype("uint8" if outputs <= 256 else "uint16"), None
    channels = None if outputs == 1 else outputs
    if output != "picture":
        return np.dtype("float32"), channels
    return (np.dtype("uint8") if dtype.kind == "b" else dtype), channels


def prepare(
    values: Shaped[np.ndarray, "slices height width channels"],
    scale: Normalisation | None,
) -> Float[Tensor, "slices channels height width"]:
    """What the network is given: float32, normalised as in training."""
    own = np.ascontiguousarray(np.moveaxis(values.astype(np.float32), -1, 1))
    images = torch.from_numpy(own)
    return images if scale is None else scale.apply(images)


def finish(
    output: str,
    answers: Float[Tensor, "slices outputs height width"],
    dtype: np.dtype[Any],
    scale: Normalisation | None,
) -> Shaped[np.ndarray, "slices height width written"]:
    """What is written of a network's answers.

    Args:
        output: one of `OUTPUTS`.
        answers: of the network.
        dtype: of what is written, by `form_of`.
        scale: how the input was normalised.
    """
    if output == "labels":
        return most_likely(answers).numpy().astype(dtype, copy=False)[..., None]
    if output == "probabilities":
        answers = answers.softmax(1) if answers.shape[1] > 1 else answers.sigmoid()
    if output in ("picture", "values") and scale is not None:
        answers = scale.undo(answers)
    values = np.moveaxis(answers.numpy(), 1, -1)
    if dtype.kind in "ui":
        limits = np.iinfo(dtype)
        whole = np.rint(np.nan_to_num(values.astype(np.float64, copy=False), nan=0.0))
        values = np.clip(whole, float(limits.min), float(limits.max))
    return values.astype(dtype)


def most_likely(
    answers: Float[Tensor, "slices outputs height width"],
) -> Integer[Tensor, "slices height width"]:
    """The first channel with the largest value; what `argmax` computes, in a tenth of its time.

    `argmax` over an axis that is not the last one goes through the memory pixel by pixel.
    """
    best = answers[:, 0].clone()
    kind = torch.uint8 if answers.shape[1] <= 256 else torch.int32
    labels = torch.zeros(best.shape, dtype=kind)
    for index in range(1, answers.shape[1]):
        channel = answers[:, index]
        labels.masked_fill_(channel > best, index)
        torch.maximum(best, channel, out=best)
    return labels
