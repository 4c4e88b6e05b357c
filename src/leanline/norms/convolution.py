"""Spectral norms of convolution filters on a periodic grid (Equations 4.5 to 4.7).

The squared modulus of a filter's Fourier transform is a cosine polynomial in its autocorrelation,
|F(h)|^2(f) = sum over lags l of r(l) cos(2 pi f l / n). That settles all cases with one evaluation:

- stride 1: its maximum over the n grid is the squared norm (Equation 4.5);
- stride s: summing over the polyphase parts keeps the lags that are multiples of s, on a grid
  of n / s points. The norm is the square root of the maximum: Equation 4.7 is printed without
  the root and without the modulus; the explicit matrix agrees with both;
- dilation d: the lags spread by d. Frequencies then repeat, so the undilated filter on a grid of
  n / gcd(n, d) points has the same norm;
- transposed: the matrix is the transpose of that of the strided convolution, the norm the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from leanline.errors import ConfigError

_CHUNK_VALUES = 1 << 20  # values of |F|^2 that are held at a time: 8 MiB


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
        Norms, (out, in), in the weight's type (float32 if that is of lower precision), to a
        relative error of 1e-6.

    Raises:
        ConfigError: If the weight has no spatial axis or more than three, or a number is below 1.
    """
    axes = weight.ndim - 2
    if axes not in (1, 2, 3):
        raise ConfigError(f"operator_norm needs a weight of 3 to 5 axes, got {tuple(weight.shape)}")
    sizes = _per_axis("size", size, axes)
    strides = _per_axis("stride", stride, axes)
    dilations = _per_axis("dilation", dilation, axes)
    grids = [
        _Axis(n * s if transposed else n, s, d, k)
        for n, s, d, k in zip(sizes, strides, dilations, weight.shape[2:], strict=True)
    ]
    filters = weight.detach().reshape(-1, *weight.shape[2:]).double()
    per_filter = math.prod(grid.points for grid in grids[:-1]) * (grids[-1].points // 2 + 1)
    chunk = max(1, _CHUNK_VALUES // per_filter)
    parts = [_largest(part, grids).clamp_(min=0).sqrt_() for part in torch.split(filters, chunk)]
    norms = torch.cat(parts) if parts else filters.new_empty(0)
    norms = norms.reshape(weight.shape[:2])
    kind = weight.dtype if weight.dtype in (torch.float32, torch.float64) else torch.float32
    return (norms.T if transposed else norms).to(kind)


class _Axis:
    """Frequencies and lags of one axis.

    Attributes:
        points: Number of different frequencies.
        step: Lags that count are multiples of this.
        lags: Largest such multiple inside the autocorrelation.
    """

    def __init__(self, size: int, stride: int, dilation: int, kernel: int) -> None:
        coarse = -(-size // stride)  # the grid after the stride
        common = math.gcd(stride, dilation)
        self.points = coarse // math.gcd(coarse, dilation // common)
        self.step = stride // common
        self.lags = (kernel - 1) // self.step

    def waves(self, like: Tensor, half: bool) -> tuple[Tensor, Tensor]:
        """Cosines and sines, (frequencies, 2 lags + 1), of half of the frequencies or of all."""
        count = self.points // 2 + 1 if half else self.points
        frequency = torch.arange(count, device=like.device)
        lag = torch.arange(-self.lags, self.lags + 1, device=like.device)
        turns = (frequency[:, None] * lag) % self.points
        angle = turns.to(like.dtype) * (2 * math.pi / self.points)
        return angle.cos(), angle.sin()


def _per_axis(name: str, value: int | Sequence[int], axes: int) -> tuple[int, ...]:
    numbers = (value,) * axes if isinstance(value, int) else tuple(value)
    if len(numbers) != axes or any(number < 1 for number in numbers):
        raise ConfigError(f"{name} is {value!r}: give {axes} numbers of at least 1, or one")
    return numbers


def _autocorrelation(
    filters: Float[Tensor, "filters ..."], grids: list[_Axis]
) -> Float[Tensor, "filters ..."]:
    """Sums of products at the lags that count, (filters, 2 lags + 1, ...)."""
    kernel = filters.shape[1:]
    axes = tuple(range(1, filters.ndim))
    extent = tuple(2 * k - 1 for k in kernel)
    spectrum = torch.fft.rfftn(filters, s=extent, dim=axes)
    found: Tensor = torch.fft.irfftn(spectrum * spectrum.conj(), s=extent, dim=axes)
    for axis, grid in zip(axes, grids, strict=True):
        reach = grid.lags * grid.step
        lags = torch.arange(-reach, reach + 1, grid.step, device=filters.device)
        found = torch.index_select(found, axis, lags % found.shape[axis])
    return found


def _largest(filters: Float[Tensor, "filters ..."], grids: list[_Axis]) -> Float[Tensor, "filters"]:
    """Maximum of |F|^2 over the grid, for each filter."""
    if filters.shape[0] == 0:
        return filters.new_empty(0)
    real = _autocorrelation(filters, grids)
    imaginary = torch.zeros_like(real)
    for grid in grids[:-1]:  # one axis of lags becomes one of frequencies
        cosine, sine = grid.waves(real, half=False)
        turned, aside = real.movedim(1, -1), imaginary.movedim(1, -1)
        real = turned @ cosine.T - aside @ sine.T
        imaginary = turned @ sine.T + aside @ cosine.T
    # The last axis needs half of the frequencies: |F|^2 is even, and only its real part remains.
    cosine, sine = grids[-1].waves(real, half=True)
    turned = torch.cat([real.movedim(1, -1), imaginary.movedim(1, -1)], dim=-1)
    waves = torch.cat([cosine, -sine], dim=1)
    squared: Tensor = turned @ waves.T
    return squared.reshape(filters.shape[0], -1).amax(1)
