import copy
import pickle

import pytest
import torch
from torch.nn import functional as F

from leanline.errors import ConfigError, ModelError
from leanline.models import MSD


def forward_by_hand(model, x):
    """Layer by layer with explicit padding, from the state dict alone."""
    state = model.state_dict()
    mode = {"zeros": "constant"}.get(model.padding_mode, model.padding_mode)
    channels = [x]
    for i in range(model.depth):
        d = model.dilations[i]
        padded = F.pad(torch.cat(channels, 1), (d, d, d, d), mode=mode)
        out = F.conv2d(padded, state[f"convs.{i}.weight"], state[f"convs.{i}.bias"], dilation=d)
        channels.append(out.clamp(min=0))
    stack = torch.cat(channels, 1)
    weight = state["final.weight"][:, :, 0, 0]
    return torch.einsum("oc,bchw->bohw", weight, stack) + state["final.bias"][:, None, None]


@pytest.mark.parametrize("padding_mode", ["zeros", "replicate", "reflect"])
@pytest.mark.parametrize(("width", "in_channels"), [(1, 1), (3, 2)])
def test_forward_agrees_with_a_forward_by_hand(padding_mode, width, in_channels):
    model = MSD(12, in_channels, 4, width=width, padding_mode=padding_mode)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.01
    x = torch.randn(2, in_channels, 17, 23, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(x), forward_by_hand(model, x))


def test_state_dict_names_and_sizes():
    model = MSD(3, 2, 5, width=4)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert shapes == {
        "convs.0.weight": (4, 2, 3, 3),
        "convs.0.bias": (4,),
        "convs.1.weight": (4, 6, 3, 3),
        "convs.1.bias": (4,),
        "convs.2.weight": (4, 10, 3, 3),
        "convs.2.bias": (4,),
        "final.weight": (5, 14, 1, 1),
        "final.bias": (5,),
    }
    assert model.leanline_ignore == ("final",)


def test_dilations_follow_the_thesis_or_the_caller():
    assert MSD(12, 1, 2).dilations == (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1, 2)
    assert MSD(5, 1, 2, dilations=[1, 4]).dilations == (1, 4, 1, 4, 1)


def test_initial_values_repeat_and_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    one, same, other = MSD(50, 1, 5), MSD(50, 1, 5), MSD(50, 1, 5, seed=1)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one.convs[9].weight, same.convs[9].weight)
    assert not torch.equal(one.convs[9].weight, other.convs[9].weight)
    weights = torch.cat([conv.weight.flatten() for conv in one.convs])
    assert weights.std().item() == pytest.approx((2 / (9 * 50 + 5)) ** 0.5, rel=0.03)
    assert all(conv.bias.abs().max() == 0 for conv in one.convs)


def test_copies_and_pickles_compute_the_same():
    model = MSD(4, 1, 2)
    x = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(x), model(x))


@pytest.mark.parametrize("padding_mode", ["zeros", "replicate", "reflect"])
def test_exports_with_dynamic_height_and_width(padding_mode):
    model = MSD(11, 1, 2, padding_mode=padding_mode)
    least = 11 if padding_mode == "reflect" else 2
    sizes = {"x": {2: torch.export.Dim("h", min=least), 3: torch.export.Dim("w", min=least)}}
    example = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    exported = torch.export.export(model, (example,), dynamic_shapes=sizes, strict=False)
    other = torch.randn(1, 1, 20, 45, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(exported.module()(other), model(other))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"depth": 0}, "depth=0"),
        ({"in_channels": 0}, "in_channels=0"),
        ({"width": -1}, "width=-1"),
        ({"dilations": []}, "dilations"),
        ({"dilations": [1, 0]}, "dilations"),
        ({"padding_mode": "circle"}, "zeros, replicate, reflect"),
    ],
)
def test_wrong_settings_are_named(settings, words):
    with pytest.raises(ConfigError, match=words):
        MSD(**{"depth": 2, "in_channels": 1, "out_channels": 2, **settings})


def test_reflecting_a_picture_that_is_too_small_is_explained():
    model = MSD(10, 1, 2, padding_mode="reflect")
    assert model(torch.zeros(1, 1, 11, 12)).shape == (1, 2, 11, 12)
    with pytest.raises(ModelError, match=r"10 x 12 pixels.*at least 11"):
        model(torch.zeros(1, 1, 10, 12))
