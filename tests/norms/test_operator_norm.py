"""Operator norms against the singular values of explicit matrices."""

import itertools
import math

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from leanline.errors import ConfigError
from leanline.norms import operator_norm


def matrix(filter_: np.ndarray, size: tuple[int, ...], stride, dilation) -> np.ndarray:
    """Rows of a convolution on a periodic grid, written down entry by entry."""
    padded = tuple(-(-n // s) * s for n, s in zip(size, stride, strict=True))
    coarse = tuple(n // s for n, s in zip(padded, stride, strict=True))
    rows = np.zeros((*coarse, *padded))
    for out in itertools.product(*map(range, coarse)):
        for tap in itertools.product(*map(range, filter_.shape)):
            place = tuple(
                (o * s + t * d) % n
                for o, s, t, d, n in zip(out, stride, tap, dilation, padded, strict=True)
            )
            rows[out + place] += filter_[tap]
    return rows.reshape(int(np.prod(coarse)), -1)


def spectral(filter_: torch.Tensor, size, stride, dilation) -> float:
    return float(np.linalg.norm(matrix(filter_.numpy(), size, stride, dilation), 2))


def filters(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kernel", range(1, 8))
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2, 3, 4])
def test_two_axes(kernel: int, stride: int, dilation: int) -> None:
    weight = filters(2, 1, kernel, kernel, seed=kernel)
    for size in ((6, 6), (7, 8), (12, 5)):
        found = operator_norm(weight, size, stride, dilation)
        for row, norm in zip(weight[:, 0], found[:, 0], strict=True):
            expected = spectral(row, size, (stride,) * 2, (dilation,) * 2)
            assert float(norm) == pytest.approx(expected, rel=1e-9, abs=1e-7)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_axes(data: st.DataObject) -> None:
    axes = data.draw(st.integers(1, 3))
    small = {1: 40, 2: 9, 3: 5}[axes]

    def numbers(low: int, high: int) -> tuple[int, ...]:
        return tuple(data.draw(st.integers(low, high)) for _ in range(axes))

    kernel, size = numbers(1, {1: 12, 2: 7, 3: 3}[axes]), numbers(1, small)
    stride, dilation = numbers(1, 4), numbers(1, 6)
    weight = filters(1, 1, *kernel, seed=data.draw(st.integers(0, 1000)))
    transposed = data.draw(st.booleans())
    read = size  # by a transposed convolution, whose result is the size of the strided one's input
    if transposed:
        size = tuple(n * s for n, s in zip(size, stride, strict=True))
        hypothesis.assume(math.prod(size) <= 400)
    found = float(operator_norm(weight, read, stride, dilation, transposed))
    expected = spectral(weight[0, 0], size, stride, dilation)
    assert found == pytest.approx(expected, rel=1e-8, abs=1e-7)


def test_equation_4_7_needs_the_root() -> None:
    """3x3, stride 2, n = 8: the equation from the polyphase parts, against the explicit matrix."""
    weight = filters(1, 1, 3, 3)
    parts = polyphase(weight, 8)
    printed = np.abs(sum(part**2 for part in parts)).max()
    moduli = sum(np.abs(part) ** 2 for part in parts).max()
    expected = spectral(weight[0, 0], (8, 8), (2, 2), (1, 1))
    assert (expected, printed) == pytest.approx((5.366, 28.79), rel=1e-3)  # as docs/ say
    assert math.sqrt(moduli) == pytest.approx(expected, rel=1e-12)
    assert float(operator_norm(weight, 8, stride=2)) == pytest.approx(expected, rel=1e-12)


def test_equation_4_7_needs_the_modulus() -> None:
    weight = torch.zeros(1, 1, 5, 5, dtype=torch.float64)
    weight[0, 0, 0, ::2] = torch.tensor([1.0, 0.0, -1.0])  # largest at pi / 2
    weight[0, 0, 0, 3] = 2.0  # with a phase of its own there
    parts = polyphase(weight, 16)
    without = math.sqrt(np.abs(sum(part**2 for part in parts)).max())
    moduli = math.sqrt(sum(np.abs(part) ** 2 for part in parts).max())
    expected = spectral(weight[0, 0], (16, 16), (2, 2), (1, 1))
    assert without < 0.9 * expected
    assert moduli == pytest.approx(expected, rel=1e-12)
    assert float(operator_norm(weight, 16, stride=2)) == pytest.approx(expected, rel=1e-12)


def polyphase(weight: torch.Tensor, size: int) -> list[np.ndarray]:
    """Transforms of the four parts of a filter that a stride of 2 leaves (Figure 4.2)."""
    taps, grid = weight[0, 0].numpy(), (size // 2, size // 2)
    return [np.fft.fft2(taps[i::2, j::2], s=grid) for i in range(2) for j in range(2)]


def test_without_lags_the_squared_weights_remain() -> None:
    weight = filters(3, 2, 2, 2)
    found = operator_norm(weight, 8, stride=2)
    torch.testing.assert_close(found, weight.flatten(2).norm(dim=2))
    single = filters(3, 2, 1, 1).float()
    assert torch.equal(operator_norm(single, (5, 9), stride=3), single[..., 0, 0].abs())
    expected = spectral(weight[0, 0], (8, 8), (2, 2), (1, 1))
    assert float(found[0, 0]) == pytest.approx(expected, rel=1e-12)


def test_transposed_is_the_transpose() -> None:
    weight = filters(2, 3, 3, 3)
    found = operator_norm(weight, 4, stride=2, transposed=True)
    assert found.shape == (3, 2)
    layer = nn.ConvTranspose2d(1, 1, 3, stride=2, padding=1, output_padding=1, bias=False).double()
    for i, o in itertools.product(range(2), range(3)):
        expected = spectral(weight[i, o], (8, 8), (2, 2), (1, 1))
        assert float(found[o, i]) == pytest.approx(expected, rel=1e-10)
        with torch.no_grad():
            layer.weight.copy_(weight[i : i + 1, o : o + 1])
            columns = layer(torch.eye(16, dtype=torch.float64).reshape(16, 1, 4, 4)).reshape(16, -1)
        # Zero padding instead of a periodic grid: a compression, so never larger.
        assert float(torch.linalg.matrix_norm(columns, 2)) <= float(found[o, i]) * (1 + 1e-9)


def test_agrees_with_the_transform_at_full_size() -> None:
    weight = filters(3, 2, 3, 3).float()
    spectrum = torch.fft.rfft2(weight.double(), s=(256, 256)).abs().amax((-2, -1))
    torch.testing.assert_close(operator_norm(weight, 256).double(), spectrum, rtol=1e-6, atol=0)
    spread = torch.zeros(3, 2, 19, 19, dtype=torch.float64)
    spread[..., ::9, ::9] = weight.double()
    spectrum = torch.fft.rfft2(spread, s=(256, 256)).abs().amax((-2, -1))
    found = operator_norm(weight, 256, dilation=9)
    torch.testing.assert_close(found.double(), spectrum, rtol=1e-6, atol=0)


def test_many_filters_come_in_chunks() -> None:
    weight = filters(40, 3, 3, 3)
    whole = operator_norm(weight, 128)
    for row in (0, 17, 39):
        torch.testing.assert_close(operator_norm(weight[row : row + 1], 128), whole[row : row + 1])
    assert operator_norm(weight[:0], 16).shape == (0, 3)


def test_types_and_zero_filters() -> None:
    weight = torch.zeros(1, 1, 3, 3)
    assert float(operator_norm(weight, 16)) == 0
    assert operator_norm(weight, 16).dtype == torch.float32
    assert operator_norm(weight.double(), 16).dtype == torch.float64
    assert operator_norm(weight.half(), 16).dtype == torch.float32
    assert not operator_norm(nn.Parameter(weight), 16).requires_grad


@pytest.mark.parametrize("size", [16, 256])
@pytest.mark.parametrize("kernel", [1, 2, 3])
def test_scales(kernel: int, size: int) -> None:
    weight = filters(4, 1, kernel, kernel)
    for stride in (1, 2):
        plain = operator_norm(weight, size, stride)
        for factor in (1e-30, 1e30, 1e-200, 1e200):
            found = operator_norm(weight * factor, size, stride)
            torch.testing.assert_close(found / factor, plain, rtol=1e-12, atol=0)
        for factor in (1e-30, 1e30):
            found = operator_norm((weight * factor).float(), size, stride)
            torch.testing.assert_close(found.double() / factor, plain, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_precisions_and_layouts(dtype: torch.dtype) -> None:
    weight = filters(5, 4, 3, 3).to(dtype)
    expected = operator_norm(weight.double(), 256)
    found = operator_norm(weight, 256)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=0)
    spread = weight.to(memory_format=torch.channels_last)[::2, 1:]
    torch.testing.assert_close(operator_norm(spread, 256), found[::2, 1:], rtol=0, atol=0)
    turned = operator_norm(weight.transpose(2, 3), 256)
    torch.testing.assert_close(turned.double(), expected, rtol=1e-6, atol=0)


def test_order_and_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = filters(50, 1, 3, 3)
    whole = operator_norm(weight, 256)
    assert torch.equal(operator_norm(weight.flip(0), 256), whole.flip(0))
    monkeypatch.setattr("leanline.norms.convolution._CHUNK_VALUES", 63)
    assert torch.equal(operator_norm(weight, 256), whole)


def test_empty_and_not_finite() -> None:
    assert operator_norm(torch.zeros(0, 3, 3, 3), 16).shape == (0, 3)
    assert operator_norm(torch.zeros(2, 0, 1, 1), 16).shape == (2, 0)
    assert operator_norm(torch.zeros(2, 0, 2, 2), 16, 2, transposed=True).shape == (0, 2)
    for size, kernel, stride in ((16, 1, 1), (16, 2, 2), (16, 3, 1), (256, 3, 1)):
        weight = torch.ones(3, 1, kernel, kernel)
        weight[0, 0, 0, 0], weight[1, 0, 0, 0] = float("nan"), float("inf")
        found = operator_norm(weight, size, stride)[:, 0].isfinite()
        assert found.tolist() == [False, False, True]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_weights_on_a_gpu() -> None:
    for kernel, stride in ((1, 1), (2, 2), (3, 1)):
        weight = filters(4, 3, kernel, kernel).float()
        found = operator_norm(weight.cuda(), 64, stride)
        assert found.is_cuda
        torch.testing.assert_close(found.cpu(), operator_norm(weight, 64, stride))


def test_bad_arguments() -> None:
    weight = torch.zeros(1, 1, 3, 3)
    with pytest.raises(ConfigError, match="3 to 5 axes"):
        operator_norm(weight[0, 0], 16)
    with pytest.raises(ConfigError, match="stride is 0"):
        operator_norm(weight, 16, stride=0)
    with pytest.raises(ConfigError, match="size is"):
        operator_norm(weight, (16, 16, 16))
