"""Norms of channel-wise operations against matrices of the PyTorch operations."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leanline.norms import (
    adaptive_average_pool_norm,
    adaptive_max_pool_norm,
    average_pool_norm,
    batch_norm_scale,
    interpolation_norm,
    max_pool_norm,
)


def explicit(function: Callable[[Tensor], Tensor], size: tuple[int, ...]) -> float:
    pixels = math.prod(size)
    images = torch.eye(pixels, dtype=torch.float64).reshape(pixels, 1, *size)
    return float(torch.linalg.matrix_norm(function(images).reshape(pixels, -1), 2))


@pytest.mark.parametrize("kernel, stride, padding", [(2, 2, 0), (3, 2, 1), (3, 1, 0), (2, 3, 1)])
@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("include", [False, True])
def test_average_pooling(kernel: int, stride: int, padding: int, ceil: bool, include: bool) -> None:
    size = (7, 6)
    expected = explicit(lambda x: F.avg_pool2d(x, kernel, stride, padding, ceil, include), size)
    pair = ((kernel,) * 2, (stride,) * 2, (padding,) * 2)
    assert average_pool_norm(size, *pair, ceil, include) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("output", [(1, 1), (3, 4), (7, 6), (9, 2)])
def test_adaptive_average_pooling(output: tuple[int, int]) -> None:
    expected = explicit(lambda x: F.adaptive_avg_pool2d(x, output), (7, 6))
    assert adaptive_average_pool_norm((7, 6), output) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "linear", "cubic"])
@pytest.mark.parametrize("output", [(10, 12), (3, 9), (5, 6)])
def test_interpolation(mode: str, output: tuple[int, int]) -> None:
    full = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)
    for align in (False, True) if mode in ("linear", "cubic") else (None,):
        expected = explicit(
            lambda x, a=align: F.interpolate(x, output, mode=full, align_corners=a), (5, 6)
        )
        found = interpolation_norm((5, 6), output, mode, align)
        assert found == pytest.approx(expected, rel=1e-9)


def test_interpolation_by_scale_and_in_three_axes() -> None:
    expected = explicit(
        lambda x: F.interpolate(x, scale_factor=1.7, mode="bilinear", align_corners=False), (5, 6)
    )
    found = interpolation_norm((5, 6), (8, 10), "linear", False, (1.7, 1.7))
    assert found == pytest.approx(expected, rel=1e-9)
    expected = explicit(lambda x: F.interpolate(x, scale_factor=2, mode="trilinear"), (3, 4, 2))
    assert interpolation_norm((3, 4, 2), (6, 8, 4), "linear", False) == pytest.approx(expected)


@pytest.mark.parametrize(
    "kernel, stride, dilation", [(2, 2, 1), (3, 2, 1), (3, 1, 1), (3, 2, 2), (4, 4, 2), (2, 3, 1)]
)
def test_max_pooling_is_bounded_and_the_bound_is_met(
    kernel: int, stride: int, dilation: int
) -> None:
    bound = max_pool_norm((kernel,) * 2, (stride,) * 2, (dilation,) * 2)

    def pool(x: Tensor) -> Tensor:
        return F.max_pool2d(x, kernel, stride, 0, dilation)

    images = torch.eye(400, dtype=torch.float64).reshape(400, 1, 20, 20)
    growth = pool(images).flatten(1).norm(dim=1)  # one bright pixel, in as many windows as it can
    assert float(growth.max()) == pytest.approx(bound, rel=1e-12)
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(2, 50, 1, 20, 20, generator=generator, dtype=torch.float64)
    change = (pool(left) - pool(right)).flatten(1).norm(dim=1)
    assert bool((change <= bound * (left - right).flatten(1).norm(dim=1)).all())


@pytest.mark.parametrize("output", [(3, 4), (7, 6), (4, 5), (1, 1)])
def test_adaptive_max_pooling(output: tuple[int, int]) -> None:
    images = torch.eye(42, dtype=torch.float64).reshape(42, 1, 7, 6)
    growth = F.adaptive_max_pool2d(images, output).flatten(1).norm(dim=1)
    assert adaptive_max_pool_norm((7, 6), output) == pytest.approx(float(growth.max()))


def test_batch_norm() -> None:
    layer = nn.BatchNorm1d(3).double().eval()
    layer.running_var.copy_(torch.tensor([0.5, 2.0, 1e-3]))
    layer.weight.data.copy_(torch.tensor([-2.0, 0.0, 1.0]))
    with torch.no_grad():
        slope = (layer(torch.ones(1, 3).double()) - layer(torch.zeros(1, 3).double()))[0].abs()
    found = batch_norm_scale(layer.weight.detach(), layer.running_var, layer.eps)
    torch.testing.assert_close(found, slope)
    plain = batch_norm_scale(None, layer.running_var, layer.eps)
    torch.testing.assert_close(plain, (layer.running_var + layer.eps).rsqrt())
