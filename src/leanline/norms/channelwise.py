"""Norms of operations that act on each channel by itself.

Average pooling and interpolation treat one axis after the other, so their L2 norm is the product
of the norms of small matrices, one an axis, which are made by the operation itself from unit
vectors. Borders are part of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


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
) -> float:
    """L2 norm of average pooling of pictures of a size; arguments as in PyTorch, one an axis."""
    paddings = padding if padding is not None else (0,) * len(kernel)
    return math.prod(
        _average_axis(n, k, s, p, ceil_mode, count_include_pad)
        for n, k, s, p in zip(size, kernel, stride, paddings, strict=True)
    )


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


def _norm(matrix: Float[Tensor, "out in"]) -> float:
    """Largest singular value, by the smaller of the two Gram matrices."""
    if matrix.shape[0] > matrix.shape[1]:
        matrix = matrix.T
    return math.sqrt(max(0.0, float(torch.linalg.eigvalsh(matrix @ matrix.T)[-1])))


def _units(size: int) -> Float[Tensor, "size 1 size"]:
    return torch.eye(size, dtype=torch.float64)[:, None]


@lru_cache(maxsize=256)
def _average_axis(
    size: int, kernel: int, stride: int, padding: int, ceil_mode: bool, count_include_pad: bool
) -> float:
    images = F.avg_pool1d(_units(size), kernel, stride, padding, ceil_mode, count_include_pad)
    return _norm(images[:, 0].T)


@lru_cache(maxsize=256)
def _adaptive_axis(size: int, output: int) -> float:
    return _norm(F.adaptive_avg_pool1d(_units(size), output)[:, 0].T)


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
    images = F.interpolate(
        _units(size)[..., None],
        size=None if scale is not None else (output, 1),
        scale_factor=None if scale is None else (scale, 1.0),
        mode=two_axes,
        align_corners=align_corners,
        antialias=antialias,
    )
    return _norm(images[:, 0, :, 0].T)
