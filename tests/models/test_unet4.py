import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from leanline.compaction import compact
from leanline.errors import ConfigError, ModelError
from leanline.masks import apply_masks
from leanline.models import UNet4
from leanline.pruning import clean, select, summary, trace


def picture(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def shaken(network):
    """All values different from their initial ones, so that each has an effect."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2.0, generator=generator)
            elif value.is_floating_point():
                value.add_(0.1 * torch.randn(value.shape, generator=generator))
    return network.eval()


def forward_by_hand(state, x, upsampling):
    """Level by level, from the state dict alone; average pooling as a strided convolution."""

    def block(x, name):
        for conv, norm in ((0, 1), (3, 4)):
            weight, bias = state[f"{name}.{conv}.weight"], state[f"{name}.{conv}.bias"]
            x = F.conv2d(F.pad(x, (1, 1, 1, 1)), weight, bias)
            gamma, beta, mean, var = (
                state[f"{name}.{norm}.{part}"][:, None, None]
                for part in ("weight", "bias", "running_mean", "running_var")
            )
            x = (gamma * (x - mean) / (var + 1e-5).sqrt() + beta).clamp(min=0)
        return x

    def halved(x):
        kernel = torch.full((x.shape[1], 1, 2, 2), 0.25)
        return F.conv2d(x, kernel, stride=2, groups=x.shape[1])

    def doubled(x, level):
        if upsampling == "transposed":
            weight, bias = state[f"upsample.{level}.weight"], state[f"upsample.{level}.bias"]
            blocks = torch.einsum("bchw,cdij->bdhiwj", x, weight)
            return (
                blocks.reshape(*blocks.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
                + bias[:, None, None]
            )
        for axis in (2, 3):
            n = x.shape[axis]
            place = torch.linspace(0, n - 1, 2 * n)
            matrix = (1 - (place[:, None] - torch.arange(n)).abs()).clamp(min=0)
            x = torch.tensordot(x, matrix, dims=([axis], [1])).movedim(-1, axis)
        return x

    first = block(x, "encoder.0")
    second = block(halved(first), "encoder.1")
    third = block(halved(second), "encoder.2")
    fourth = block(halved(third), "encoder.3")
    x = block(halved(fourth), "encoder.4")
    for level, skip in enumerate((fourth, third, second, first)):
        wide = torch.zeros_like(skip)
        x = doubled(x, level)
        wide[:, :, : x.shape[2], : x.shape[3]] = x
        x = block(torch.cat((skip, wide), 1), f"decoder.{level}")
    weight = state["final.weight"][:, :, 0, 0]
    return torch.einsum("oc,bchw->bohw", weight, x) + state["final.bias"][:, None, None]


@pytest.mark.parametrize("upsampling", ["transposed", "bilinear"])
@pytest.mark.parametrize("size", [(16, 16), (32, 48), (31, 17), (39, 50)])
def test_forward_agrees_with_a_forward_by_hand(upsampling, size):
    network = shaken(UNet4(2, 3, width=2, upsampling=upsampling))
    x = picture(2, 2, *size)
    with torch.no_grad():
        found = network(x)
        expected = forward_by_hand(network.state_dict(), x, upsampling)
    assert found.shape == (2, 3, *size)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_every_parameter_has_a_gradient():
    network = UNet4(1, 2, width=2)
    network(picture(2, 1, 33, 32)).square().mean().backward()
    for name, parameter in network.named_parameters():
        # what is added before a batch norm is taken away by it
        redundant = name.endswith((".0.bias", ".3.bias"))
        assert parameter.grad.isfinite().all()
        assert redundant or parameter.grad.abs().max() > 0, name


def test_initial_values_repeat_keep_the_scale_and_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    one, same, other = UNet4(1, 2, width=8), UNet4(1, 2, width=8), UNet4(1, 2, width=8, seed=1)
    assert torch.equal(before, torch.get_rng_state())
    for name, value in one.state_dict().items():
        assert torch.equal(value, same.state_dict()[name])
    assert not torch.equal(one.final.weight, other.final.weight)
    filters = one.decoder[0][0].weight
    assert filters.std().item() == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.02)
    assert one.upsample[0].weight.std().item() == pytest.approx(64**-0.5, rel=0.02)
    with torch.no_grad():
        logits = UNet4(1, 4, width=16).eval()(picture(1, 1, 64, 64))
    assert 0.1 < logits.std() < 10


def test_pooling_is_average_pooling_and_batch_norm_follows_each_3x3_convolution():
    kinds = [type(module) for module in UNet4(1, 2, width=2).modules()]
    assert kinds.count(nn.AvgPool2d) == 1
    assert nn.MaxPool2d not in kinds
    assert kinds.count(nn.BatchNorm2d) == 18
    assert kinds.count(nn.Conv2d) == 19
    assert kinds.count(nn.ConvTranspose2d) == 4


@pytest.mark.parametrize("upsampling", ["transposed", "bilinear"])
@pytest.mark.parametrize("size", [(32, 32), (37, 24)])
def test_is_traced_pruned_and_compacted(upsampling, size):
    network = shaken(UNet4(1, 3, width=2, upsampling=upsampling))
    x = picture(1, 1, *size)
    graph = trace(network, x)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    total = sum(m.in_channels * m.out_channels for m in convolutions)
    assert graph.num_filters == total  # the final layer's too
    if upsampling == "transposed":
        assert graph.report.frozen == ()
    apply_masks(network, select(network, x, keep=0.1))
    clean(network, x)
    assert summary(network, x).filters.after == pytest.approx(0.1 * total, rel=0.1)
    small = compact(network, x)
    assert sum(p.numel() for p in small.parameters()) < 0.6 * sum(
        p.numel() for p in network.parameters()
    )
    with torch.no_grad():
        torch.testing.assert_close(small(x), network(x), rtol=1e-4, atol=1e-5)


def test_exports_with_dynamic_height_and_width():
    network = shaken(UNet4(1, 2, width=2))
    # below 32 pixels the lowest level is a single pixel wide, which the export sets apart
    sizes = {"x": {2: torch.export.Dim("h", min=32), 3: torch.export.Dim("w", min=32)}}
    exported = torch.export.export(
        network, (picture(1, 1, 35, 50),), dynamic_shapes=sizes, strict=False
    )
    for size in ((33, 45), (32, 48)):
        other = picture(1, 1, *size)
        torch.testing.assert_close(exported.module()(other), network(other))


def test_copies_compute_the_same():
    network = shaken(UNet4(1, 2, width=2))
    x = picture(1, 1, 16, 18)
    assert torch.equal(copy.deepcopy(network)(x), network(x))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"in_channels": 0}, "in_channels=0"),
        ({"out_channels": -2}, "out_channels=-2"),
        ({"width": 0}, "width=0"),
        ({"upsampling": "nearest"}, "transposed, bilinear"),
    ],
)
def test_wrong_settings_are_named(settings, words):
    with pytest.raises(ConfigError, match=words):
        UNet4(**{"in_channels": 1, "out_channels": 2, **settings})


def test_a_picture_that_is_too_small_is_explained():
    with pytest.raises(ModelError, match=r"15 x 40 pixels.*at least 16"):
        UNet4(1, 2, width=1)(torch.zeros(1, 1, 15, 40))
