"""Spectral norms of convolution filters on a periodic grid (Equations 4.5 to 4.7).

The squared modulus of a filter's Fourier transform is a cosine polynomial in its autocorrelation,
|F(h)|^2(f) = sum over lags l of r(l) cos(2 pi f l / n). That settles all cases with one search:

- stride 1: its maximum over the n grid is the squared norm (Equation 4.5);
- stride s: summing over the polyphase parts keeps the lags that are multiples of s, on a grid
  of n / s points. The norm is the square root of the maximum: Equation 4.7 is printed without
  the root and without the modulus; the explicit matrix agrees with both;
- dilation d: the lags spread by d. Frequencies then repeat, so the undilated filter on a grid of
  n / gcd(n, d) points has the same norm;
- transposed: the matrix is the transpose of that of the strided convolution, the norm the same;
- no lags, as in a 1x1 convolution or where the stride is the kernel's size: the sum of the squared
  weights is all that is left.

`leanline.norms.peak` finds the maximum without looking at all frequencies, and proves it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from leanline.errors import ConfigError
from leanline.norms.grid import Axis, plan
from leanline.norms.peak import largest_responses

_CHUNK_VALUES = 1 << 22  # weights that are converted at a time: 32 MiB


def operator_norm(
    weight: Float[Tensor, "..."],
    size: int | Sequence[int],
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
    transposed: bool = False,
) -> Float[Tensor, "out in"]:
    """Spectral norm of every filter of a convolution, from one input to one output channel.

    Args:
        weight: Filters, (out, in, *kernel), or (in, out, *kernel) if transposed; 1-D to 3-D.
            Grouped convolutions are a matter of the caller: filters do not know their group.
        size: Spatial size of the pictures that the operation reads, one number or one an axis. A
            size that the stride does not divide is rounded up to the next multiple.
        stride: Stride, one number or one an axis.
        dilation: Dilation, one number or one an axis.
        transposed: Whether the convolution is transposed; its result has stride * size pixels.

    Returns:
        Norms, (out, in), on the weight's device and in its type (float32 if that is of lower
        precision), exact up to rounding; 0 for filters that are zero, NaN or infinity for those
        that hold one. They are found on the CPU, on one thread.

    Raises:
        ConfigError: If the weight has no spatial axis or more than three, or a number is below 1.
    """
    axes = weight.ndim - 2
    if axes not in (1, 2, 3):
        raise ConfigError(f"operator_norm needs a weight of 3 to 5 axes, got {tuple(weight.shape)}")
    sizes = _per_axis("size", size, axes)
    strides = _per_axis("stride", stride, axes)
    dilations = _per_axis("dilation", dilation, axes)
    axis = [
        Axis.of(n * s if transposed else n, s, d, k)
        for n, s, d, k in zip(sizes, strides, dilations, weight.shape[2:], strict=True)
    ]
    filters = weight.detach().reshape(-1, *weight.shape[2:])
    norms = _without_lags(filters) if not any(a.lags for a in axis) else _searched(filters, axis)
    kind = weight.dtype if weight.dtype in (torch.float32, torch.float64) else torch.float32
    norms = norms.to(kind).reshape(weight.shape[:2])
    return norms.T if transposed else norms


def _without_lags(filters: Float[Tensor, "filters ..."]) -> Float[Tensor, "filters"]:
    """Root of the sum of the squared weights."""
    taps = filters.flatten(1)
    if taps.shape[1] == 0:
        return filters.new_zeros(len(filters), dtype=torch.float64)
    if taps.shape[1] == 1:
        return taps[:, 0].abs()
    scale = taps.abs().amax(1, keepdim=True).double()  # or squares could leave the range
    scale = torch.where(scale > 0, scale, 1.0)
    norms: Tensor = torch.linalg.vector_norm(taps / scale, dim=1) * scale[:, 0]
    return norms


def _searched(
    filters: Float[Tensor, "filters ..."], axes: Sequence[Axis]
) -> Float[Tensor, "filters"]:
    """Root of the largest |F|^2 on the grid."""
    first, second, third, slack = plan(axes)
    kernel = (1,) * (3 - len(axes)) + tuple(filters.shape[1:])
    norms = np.empty(len(filters))
    chunk = max(1, _CHUNK_VALUES // math.prod(kernel))
    for start in range(0, len(filters), chunk):
        part = filters[start : start + chunk].to("cpu", torch.float64).reshape(-1, *kernel)
        found = norms[start : start + chunk]
        largest_responses(part.contiguous().numpy(), first, second, third, slack, found)
    return torch.from_numpy(norms).to(filters.device)


def _per_axis(name: str, value: int | Sequence[int], axes: int) -> tuple[int, ...]:
    numbers = (value,) * axes if isinstance(value, int) else tuple(value)
    if len(numbers) != axes or any(number < 1 for number in numbers):
        raise ConfigError(f"{name} is {value!r}: give {axes} numbers of at least 1, or one")
    return numbers
