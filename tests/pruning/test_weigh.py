"""Norms of traced operations against the matrices of the operations."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from leanline.graph import trace_program
from leanline.norms import operator_norm
from leanline.pruning import weigh


def only(model: nn.Module, size: int = 6, channels: int = 1) -> np.ndarray:
    image = torch.rand(1, channels, size, size, generator=torch.Generator().manual_seed(0))
    program = trace_program(model, image)
    step = next(s for s in program.operations if s.kind not in ("input", "output", "pad"))
    return weigh(program, step)


@pytest.mark.parametrize(
    "layer",
    [
        nn.AvgPool2d(2),
        nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        nn.AvgPool2d(2, divisor_override=3),
        nn.AdaptiveAvgPool2d(4),
        nn.AdaptiveAvgPool2d(1),
        nn.Upsample(scale_factor=2),
        nn.Upsample(size=(9, 7), mode="bilinear", align_corners=True),
        nn.Upsample(scale_factor=1.5, mode="bilinear"),
        nn.Upsample(scale_factor=2, mode="bicubic"),
    ],
)
def test_linear_operations(layer: nn.Module) -> None:
    images = torch.eye(36, dtype=torch.float64).reshape(36, 1, 6, 6)
    expected = float(torch.linalg.matrix_norm(layer(images).reshape(36, -1), 2))
    assert float(only(layer)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "layer, bound",
    [
        (nn.MaxPool2d(2), 1.0),
        (nn.MaxPool2d(3, 2, 1), 2.0),
        (nn.AdaptiveMaxPool2d(4), 2.0),
        (nn.ReLU(), 1.0),
        (nn.GELU(), 1.1289),
        (nn.GELU("tanh"), 1.1290),
        (nn.SiLU(), 1.0998),
        (nn.Mish(), 1.0885),
        (nn.Hardswish(), 1.5),
        (nn.LeakyReLU(1.5), 1.5),
        (nn.ELU(2.0), 2.0),
        (nn.SELU(), 1.7581),
        (nn.Tanh(), 1.0),
        (nn.CELU(0.5), 1.0),
        (nn.ReLU6(), 1.0),
        (nn.PReLU(init=3.0), 3.0),
    ],
)
def test_bounds(layer: nn.Module, bound: float) -> None:
    found = float(np.max(only(layer)))
    assert found == pytest.approx(bound, abs=6e-5)
    if not isinstance(layer, nn.MaxPool2d | nn.AdaptiveMaxPool2d):
        x = torch.linspace(-8, 8, 160_001, dtype=torch.float64)
        with torch.no_grad():
            y = layer.double()(x.reshape(1, 1, -1, 1)).reshape(-1)
        slope = float(((y[1:] - y[:-1]) / (x[1:] - x[:-1])).abs().max())
        assert slope <= found * (1 + 1e-9)
        assert slope >= found * (1 - 1e-3)
    layer.float()


def test_batch_norm_scale_is_what_it_does() -> None:
    layer = nn.BatchNorm2d(2)
    layer.running_var.copy_(torch.tensor([0.25, 9.0]))
    np.testing.assert_allclose(only(layer, channels=2), [2.0, 1 / 3], rtol=1e-4)


def test_convolutions_keep_the_layout_of_their_weight() -> None:
    generator = torch.Generator().manual_seed(0)
    for stride, dilation in itertools.product((1, 2), (1, 2)):
        settings = dict(stride=stride, dilation=dilation, bias=False)
        plain = nn.Conv2d(2, 3, 3, padding=2, **settings)
        plain.weight.data.normal_(generator=generator)
        expected = operator_norm(plain.weight, 6, stride, dilation)
        np.testing.assert_allclose(only(plain, channels=2), expected.numpy())
        turned = nn.ConvTranspose2d(2, 3, 3, **settings)
        turned.weight.data.normal_(generator=generator)
        expected = operator_norm(turned.weight, 6, stride, dilation, transposed=True)
        np.testing.assert_allclose(only(turned, channels=2), expected.T.numpy())
    bordered = nn.Conv2d(1, 1, 3, padding=2, padding_mode="replicate")
    np.testing.assert_allclose(only(bordered), operator_norm(bordered.weight, 6).numpy())
