"""Norms of channel-wise operations against the PyTorch operations themselves.

Small pictures by the matrix of the operation, larger ones by subspace iteration with the operation
and its transpose, which autograd gives.
"""

import math
from collections.abc import Callable

import numpy as np
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


def iterated(function: Callable[[Tensor], Tensor], size: tuple[int, ...]) -> float:
    """Largest singular value by iterating 16 vectors."""
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(16, 1, *size, dtype=torch.float64, generator=generator)
    found = 0.0
    for _ in range(400):
        basis = torch.linalg.qr(vectors.flatten(1).T)[0].T
        images = basis.reshape(-1, 1, *size).requires_grad_()
        result = function(images)
        before = found
        found = float(torch.linalg.matrix_norm(result.detach().flatten(1), 2))
        if found - before < 1e-11 * found:
            break
        vectors = torch.autograd.grad(result, images, result.detach())[0]
    return found


POOLS = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)


@pytest.mark.parametrize(
    "size, kernel, stride, padding",
    [
        ((50,), (3,), (2,), (1,)),
        ((41,), (8,), (3,), (4,)),
        ((21, 30), (3, 2), (2, 1), (1, 0)),
        ((16, 17), (5, 4), (3, 4), (2, 2)),
        ((8, 7, 9), (2, 3, 3), (2, 1, 2), (0, 1, 1)),
    ],
)
@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("include, divisor", [(True, None), (False, None), (True, 5), (False, 5)])
def test_average_pooling_of_anisotropic_pictures(
    size: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    ceil: bool,
    include: bool,
    divisor: int | None,
) -> None:
    given = (kernel, stride, padding, ceil, include)
    if len(size) > 1:
        expected = iterated(lambda x: POOLS[len(size) - 1](x, *given, divisor), size)
        assert average_pool_norm(size, *given, divisor) == pytest.approx(expected, rel=1e-6)
    else:  # PyTorch has no divisor for one axis
        expected = iterated(lambda x: F.avg_pool1d(x, *given), size)
        assert average_pool_norm(size, *given) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("size, output", [((40,), (7,)), ((21, 5), (4, 9)), ((6, 7, 8), (4, 7, 3))])
def test_adaptive_average_pooling_in_all_axes(
    size: tuple[int, ...], output: tuple[int, ...]
) -> None:
    pool = [F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d][len(size) - 1]
    shape = output if len(output) > 1 else output[0]
    expected = iterated(lambda x: pool(x, shape), size)
    assert adaptive_average_pool_norm(size, output) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("size, output", [((20, 14), (9, 31)), ((12, 13), (25, 26))])
@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("align, antialias", [(False, True), (True, True), (True, False)])
def test_interpolation_of_larger_pictures(
    size: tuple[int, int], output: tuple[int, int], mode: str, align: bool, antialias: bool
) -> None:
    full = {"linear": "bilinear", "cubic": "bicubic"}[mode]
    expected = iterated(
        lambda x: F.interpolate(x, output, mode=full, align_corners=align, antialias=antialias),
        size,
    )
    found = interpolation_norm(size, output, mode, align, antialias=antialias)
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("mode, full", [("nearest", "nearest"), ("linear", "linear")])
def test_interpolation_of_one_axis(mode: str, full: str) -> None:
    align = False if mode == "linear" else None
    expected = iterated(lambda x: F.interpolate(x, 67, mode=full, align_corners=align), (40,))
    assert interpolation_norm((40,), (67,), mode, align) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("output, align", [(4096, False), (757, False), (3000, True)])
def test_long_axes_are_a_band(output: int, align: bool) -> None:
    """Against the eigenvalues of the whole Gram matrix, of a line that is long but affordable."""
    units = torch.eye(600, dtype=torch.float64)[:, None, None]
    length = output * 600 // 2048
    images = F.interpolate(units, (1, length), mode="bicubic", align_corners=align)[:, 0, 0]
    gram = images @ images.T if length > 600 else images.T @ images
    expected = math.sqrt(float(np.linalg.eigvalsh(gram.numpy())[-1]))
    assert interpolation_norm((600,), (length,), "cubic", align) == pytest.approx(
        expected, rel=1e-9
    )
    # the same ratio of a longer axis: more pixels, hardly another norm
    longer = interpolation_norm((2048,), (output,), "cubic", align)
    assert longer == pytest.approx(expected, rel=1e-3)


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
