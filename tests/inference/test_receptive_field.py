"""How far an output pixel sees, against what changes when input pixels change."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import leanline as ll
from leanline.graph import trace_program
from leanline.inference.receptive_field import receptive_field


def field_of(network, size=64, channels=1):
    return receptive_field(trace_program(network.eval(), torch.zeros(1, channels, size, size)))


def seen_by(network, size, at, channels=1):
    """Rows and columns whose pixels have a gradient at an output pixel, counted from there."""
    x = torch.randn(1, channels, size, size, dtype=torch.float64, requires_grad=True)
    y = network.double().eval()(x)
    y[0, :, at[0], at[1]].sum().backward()
    rows, columns = np.nonzero(x.grad[0].abs().sum(0).numpy())
    return rows - at[0], columns - at[1]


class Fixed(nn.Module):
    """What a function makes of a picture and a 3x3 convolution."""

    def __init__(self, function):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)
        self.function = function

    def forward(self, x):
        return self.function(self.conv(x))


@st.composite
def layers(draw):
    """Layers that end at the scale they began with."""
    made, halved = [], 0
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["conv", "strided", "pool", "up", "nearest", "bilinear"]))
        if kind == "conv":
            kernel, dilation = draw(st.sampled_from([1, 2, 3, 5])), draw(st.integers(1, 3))
            total = dilation * (kernel - 1)
            first = draw(st.integers(0, total))
            made += [nn.ZeroPad2d((first, total - first, total - first, first))]
            made += [nn.Conv2d(1, 1, kernel, dilation=dilation)]
        elif kind == "strided":
            made.append(nn.Conv2d(1, 1, 3, stride=2, padding=1))
            halved += 1
        elif kind == "pool":
            made.append(nn.AvgPool2d(2))
            halved += 1
        elif halved:
            made.append(double(kind))
            halved -= 1
    made += [double(draw(st.sampled_from(["up", "nearest", "bilinear"]))) for _ in range(halved)]
    return nn.Sequential(*made)


def double(kind):
    if kind == "up":
        return nn.ConvTranspose2d(1, 1, 4, stride=2, padding=1)
    return nn.Upsample(scale_factor=2, mode=kind)


@settings(max_examples=12)
@given(network=layers(), place=st.tuples(st.integers(0, 15), st.integers(0, 15)))
def test_no_pixel_outside_of_the_field_is_seen(network, place):
    field = field_of(network)
    assert field.finite
    size = 160
    rows, columns = seen_by(network, size, (size // 2 + place[0], size // 2 + place[1]))
    for axis, found in enumerate((rows, columns)):
        if found.size:
            assert -field.before[axis] <= found.min()
            assert found.max() <= field.after[axis]


@pytest.mark.parametrize("dilations", [(1, 2, 3), (4,)])
def test_field_of_convolutions_is_exact(dilations):
    network = nn.Sequential(*(nn.Conv2d(1, 1, 3, dilation=d, padding=d) for d in dilations))
    field = field_of(network)
    assert field.before == field.after == (sum(dilations),) * 2
    assert field.alignment == (1, 1)


def test_pruned_network_sees_less_far():
    network = ll.models.MSD(12, 1, 2)
    dense = field_of(network)
    assert dense.before == (sum(1 + i % 10 for i in range(12)),) * 2
    x = torch.zeros(1, 1, 32, 32)
    ll.apply_masks(network, ll.select(network, x, keep=0.1))
    ll.clean(network, x)
    field = field_of(network)
    assert field.before < dense.before
    rows, _ = seen_by(network, 128, (64, 64))
    assert -field.before[0] <= rows.min() and rows.max() <= field.after[0]


def test_alignment_is_the_product_of_strides():
    assert field_of(ll.models.UNet4(1, 2, width=2)).alignment == (16, 16)
    network = nn.Sequential(nn.Conv2d(1, 1, 3, 3), nn.Upsample(scale_factor=3))
    assert field_of(network, 63).alignment == (3, 3)


def test_grouped_and_asymmetric():
    network = nn.Sequential(
        nn.Conv2d(4, 4, (1, 5), padding=(0, 2), groups=2), nn.Conv2d(4, 1, (3, 1), padding=(1, 0))
    )
    field = field_of(network, channels=4)
    assert (field.before, field.after) == ((1, 2), (1, 2))


FAR = {
    "instance norm": nn.InstanceNorm2d(1),
    "global pooling": lambda x: x * x.mean((2, 3), keepdim=True),
    "align_corners": lambda x: F.interpolate(
        F.avg_pool2d(x, 2), scale_factor=2, mode="bilinear", align_corners=True
    ),
    "to a whole picture": lambda x: x + x.mean(),
    "wrapped": lambda x: F.pad(x, (3, 3, 3, 3), mode="circular")[..., 3:-3, 3:-3],
    "softmax over pixels": lambda x: x.flatten(2).softmax(2).view_as(x),
    "place": lambda x: x + torch.arange(64.0),
    "matrix": lambda x: x @ torch.eye(64),
}


@pytest.mark.parametrize("name", FAR)
def test_what_sees_the_whole_picture_is_named(name):
    field = field_of(Fixed(FAR[name]))
    assert not field.finite
    assert "'" in field.far


def test_sizes_that_are_built_in_are_named():
    network = Fixed(lambda x: F.interpolate(F.avg_pool2d(x, 2), size=(64, 64)))
    assert "interpolate" in field_of(network).fixed or "upsample" in field_of(network).fixed
    assert not field_of(Fixed(torch.relu)).fixed
    assert not field_of(Fixed(nn.InstanceNorm2d(1))).fixed


def test_memory_of_a_chain():
    network = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 1, 3, padding=1))
    assert 4 * 9 <= field_of(network).pixel_bytes <= 4 * 18
