"""Filter and channel masks that live in the model as parametrisations."""

from leanline.masks.apply import (
    apply_channel_masks,
    apply_masks,
    get_channel_masks,
    get_masks,
    lift_masks,
    remove_masks,
    zero_filters,
)
from leanline.masks.bake import bake, baked_copy
from leanline.masks.mask import Mask

__all__ = [
    "Mask",
    "apply_channel_masks",
    "apply_masks",
    "bake",
    "baked_copy",
    "get_channel_masks",
    "get_masks",
    "lift_masks",
    "remove_masks",
    "zero_filters",
]
