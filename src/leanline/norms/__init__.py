"""Operator norms: by how much an operation can scale a picture (section 4.4.3)."""

from leanline.norms.channelwise import (
    adaptive_average_pool_norm,
    adaptive_max_pool_norm,
    average_pool_norm,
    batch_norm_scale,
    interpolation_norm,
    max_pool_norm,
)
from leanline.norms.convolution import operator_norm

__all__ = [
    "adaptive_average_pool_norm",
    "adaptive_max_pool_norm",
    "average_pool_norm",
    "batch_norm_scale",
    "interpolation_norm",
    "max_pool_norm",
    "operator_norm",
]
