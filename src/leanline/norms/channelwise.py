"""Norms of operations that act on each channel by itself.

Average pooling and interpolation treat one axis after the other, so their L2 norm is the product
of the norms of matrices, one an axis, which are made by the operation itself from unit vectors.
Borders are part of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from leanline.norms.axis import axis_norm


def batch_norm_scale(
    weight: Float[Tensor, "channels"] | None,
    running_var: Float[Tensor, "channels"],
    eps: float,
) -> Float[Tensor, "channels"]:
    """Scaling |gamma| / sqrt(var + eps) of a batch norm in eval mode (section 4.4.1)."""
    scale = (running_var.double() + eps).rsqrt()
    return scale if weight is None else scale * weight.double().abs()


def max_pool_norm(
    kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int] | None = None
) -> float:
    """Lipschitz constant of max pooling in the L2 norm.

    A pixel can be the maximum of as many windows as hold it; with m such windows a change of norm 1
    changes the result by at most sqrt(m). Along an axis m = ceil(kernel / stride), where a common
    divisor of stride and dilation cancels. 1 when windows do not overlap.
    """
    dilations = dilation if dilation is not None else (1,) * len(kernel)
    windows = 1
    for k, s, d in zip(kernel, stride, dilations, strict=True):
        windows *= -(-k // (s // math.gcd(s, d)))
    return math.sqrt(windows)


def adaptive_max_pool_norm(size: Sequence[int], output: Sequence[int]) -> float:
    """Lipschitz constant of adaptive max pooling, from the largest overlap of its windows."""
    windows = 1
    for n, m in zip(size, output, strict=True):
        cover = [0] * n
        for i in range(m):
            for pixel in range(i * n // m, -(-(i + 1) * n // m)):
                cover[pixel] += 1
        windows *= max(cover)
    return math.sqrt(windows)


def average_pool_norm(
    size: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int] | None = None,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> float:
    """L2 norm of average pooling of pictures of a size; arguments as in PyTorch, one an axis."""
    paddings = padding if padding is not None else (0,) * len(kernel)
    divisor = None if divisor_override is None else 1  # of one axis: sums
    norm = math.prod(
        _average_axis(n, k, s, p, ceil_mode, count_include_pad, divisor)
        for n, k, s, p in zip(size, kernel, stride, paddings, strict=True)
    )
    return norm if divisor_override is None else norm / abs(divisor_override)


def adaptive_average_pool_norm(size: Sequence[int], output: Sequence[int]) -> float:
    """L2 norm of average pooling to a given size; 1 / sqrt(pixels) for the mean of all."""
    return math.prod(_adaptive_axis(n, m) for n, m in zip(size, output, strict=True))


def interpolation_norm(
    size: Sequence[int],
    output: Sequence[int],
    mode: str,
    align_corners: bool | None = None,
    scale_factors: Sequence[float] | None = None,
    antialias: bool = False,
) -> float:
    """L2 norm of nearest, linear or cubic interpolation.

    Args:
        size: Spatial size that is read.
        output: Spatial size of the result.
        mode: "nearest", "nearest-exact", "linear" or "cubic", whatever the number of axes.
        align_corners: As in `torch.nn.functional.interpolate`; None for nearest.
        scale_factors: Given scale factors, one an axis, if the sizes came from them.
        antialias: As in `torch.nn.functional.interpolate`.
    """
    scales = scale_factors if scale_factors is not None else (None,) * len(size)
    return math.prod(
        _interpolation_axis(n, m, mode, align_corners, scale, antialias)
        for n, m, scale in zip(size, output, scales, strict=True)
    )


@lru_cache(maxsize=256)
def _average_axis(
    size: int,
    kernel: int,
    stride: int,
    padding: int,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: int | None,
) -> float:
    def pool(lines: Float[Tensor, "lines size"]) -> Float[Tensor, "lines out"]:
        pictures = F.avg_pool2d(  # of one row: its pendant for one axis has no divisor
            lines[:, None, None],
            (1, kernel),
            (1, stride),
            (0, padding),
            ceil_mode,
            count_include_pad,
            divisor,
        )
        return pictures[:, 0, 0]

    return axis_norm(pool, size)


@lru_cache(maxsize=256)
def _adaptive_axis(size: int, output: int) -> float:
    return axis_norm(lambda lines: F.adaptive_avg_pool1d(lines[:, None], output)[:, 0], size)


@lru_cache(maxsize=256)
def _interpolation_axis(
    size: int,
    output: int,
    mode: str,
    align_corners: bool | None,
    scale: float | None,
    antialias: bool,
) -> float:
    two_axes = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)

    def interpolate(lines: Float[Tensor, "lines size"]) -> Float[Tensor, "lines out"]:
        # Pictures of one row: PyTorch's antialiased modes go wrong in pictures of one column.
        pictures = F.interpolate(
            lines[:, None, None],
            size=None if scale is not None else (1, output),
            scale_factor=None if scale is None else (1.0, scale),
            mode=two_axes,
            align_corners=align_corners,
            antialias=antialias,
        )
        return pictures[:, 0, 0]

    return axis_norm(interpolate, size)
