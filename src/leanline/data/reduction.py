"""Smaller pictures: means over squares of pixels, and the labels of the pixels in the middle."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def shrink(
    picture: Float[Tensor, "channels height width"], factor: int
) -> Float[Tensor, "channels smaller_height smaller_width"]:
    """Means over `factor` x `factor` pixels; rows and columns that are left over are cut off."""
    return picture if factor == 1 else torch.nn.functional.avg_pool2d(picture, factor)


def shrink_labels(
    labels: Int[Tensor, "height width"], factor: int
) -> Int[Tensor, "smaller_height smaller_width"]:
    """The labels of the pixels in the middle (of an even factor, below and right of it)."""
    if factor == 1:
        return labels
    height, width = (size // factor * factor for size in labels.shape)
    return labels[factor // 2 : height : factor, factor // 2 : width : factor].contiguous()
