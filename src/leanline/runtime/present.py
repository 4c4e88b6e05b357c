"""Which filters and biases the plane kernels have to compute."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor, nn

from leanline.masks import get_channel_masks, get_masks

Present = Mapping[str, np.ndarray]
"""Parameter name to what is there: filters (of ``weight.shape[:2]``), or entries of a bias. Of a
parameter that is not named all is."""


def present_by_mask(model: nn.Module) -> Present:
    """What the masks leave, zero or not: for training, where values change and masks do not."""
    masks = {**get_masks(model), **get_channel_masks(model)}
    return {name: mask.cpu().numpy() for name, mask in masks.items()}


def present_by_value(tensors: Mapping[str, Tensor]) -> Present:
    """What is not zero: for inference, whatever made it zero."""
    return {
        name: (tensor.flatten(2).ne(0).any(2) if tensor.ndim > 2 else tensor.ne(0)).cpu().numpy()
        for name, tensor in tensors.items()
    }
