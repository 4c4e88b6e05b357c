"""Compact networks against the masked ones in PyTorch."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.utils._pytree import tree_leaves, tree_structure

from leanline.compaction import compact
from leanline.compaction.layers import _taken
from leanline.errors import ModelError
from leanline.masks import apply_channel_masks, apply_masks
from leanline.models import MSD
from leanline.runtime import compile
from leanline.runtime.region import PlaneRegion
from plane_programs import assert_close

from .random_nets import RandomNet, mask_at_random, outputs, randomise


def pictures(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def assert_equal(model: nn.Module, small: nn.Module, images: Tensor, tolerance: float) -> None:
    with torch.no_grad():
        want, have = outputs(model(images)), outputs(small(images))
    assert len(want) == len(have)
    for index, (a, b) in enumerate(zip(have, want, strict=True)):
        assert_close(a, b, f"output {index}", tolerance)


@settings(max_examples=30)
@given(st.integers(0, 10_000))
@example(11)  # a dead grouped convolution carries the size of what follows
@example(99)
def test_random_nets_with_random_masks_at_any_size(seed: int) -> None:
    model = mask_at_random(randomise(RandomNet(seed), seed), seed)
    before = copy.deepcopy(model.state_dict())
    small = compact(model, pictures(1, model.inputs, 16, 16))
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    for batch, height, width in [(1, 16, 16), (3, 12, 20)]:
        assert_equal(model, small, pictures(batch, model.inputs, height, width), 1e-5)
    double = pictures(2, model.inputs, 16, 16).double()
    assert_equal(model.double(), small.double(), double, 1e-12)


@settings(max_examples=15)
@given(st.integers(0, 10_000))
def test_random_nets_with_a_linear_head_at_any_batch(seed: int) -> None:
    model = mask_at_random(randomise(RandomNet(seed, linear=True), seed), seed)
    small = compact(model, pictures(2, model.inputs, 16, 16))
    for batch in (2, 1, 5):
        assert_equal(model, small, pictures(batch, model.inputs, 16, 16), 1e-5)


@settings(max_examples=10)
@given(st.integers(0, 10_000))
def test_what_is_compacted_compacts_no_further_and_deep_copies(seed: int) -> None:
    model = mask_at_random(randomise(RandomNet(seed), seed), seed)
    images = pictures(1, model.inputs, 16, 16)
    small = compact(model, images)
    assert_equal(small, compact(small, images), images, 1e-5)
    copied = copy.deepcopy(small)
    assert copied.meta["recipe"] == small.meta["recipe"]
    copied.load_state_dict(small.state_dict())
    assert_equal(small, copied, images, 0)


def chain(*layers: nn.Module) -> nn.Module:
    return randomise(nn.Sequential(*layers), 0)


def test_it_is_smaller() -> None:
    model = chain(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 1))
    mask = torch.zeros(8, 1, dtype=torch.bool)
    mask[2:5] = True
    apply_masks(model, {"0.weight": mask})
    with torch.no_grad():
        model[0].bias.zero_()
        model[1].running_mean.zero_()
        model[1].bias.zero_()
        model[1].weight.fill_(1)
    small = compact(model, pictures(1, 1, 9, 9))
    shapes = {name: tuple(p.shape) for name, p in small.named_parameters()}
    assert shapes["0.weight"] == (3, 1, 3, 3)
    assert shapes["1.weight"] == (3,)
    assert shapes["3.weight"] == (2, 3, 1, 1)
    assert small.get_submodule("1").momentum == 0.1


def test_msd_keeps_its_ignored_layer_and_runs_on_the_plane_kernels() -> None:
    model = MSD(10, 1, 2)
    generator = torch.Generator().manual_seed(0)
    apply_masks(
        model,
        {
            name: torch.rand(p.shape[:2], generator=generator) < 0.2
            for name, p in model.named_parameters()
            if p.ndim == 4 and name != "final.weight"
        },
    )
    images = pictures(1, 1, 20, 20)
    small = compact(model, images)
    assert small.leanline_ignore == copy.deepcopy(small).leanline_ignore == ("final",)
    fast, masked = compile(small, images, "cpu", 1), compile(model, images, "cpu", 1)
    (ours,), (theirs,) = (
        [part for part in network.modules() if isinstance(part, PlaneRegion)]
        for network in (fast, masked)
    )
    assert len(ours.taps) == len(theirs.taps)
    assert_close(fast(images), masked(images), "output")


def test_fine_tuning_goes_on() -> None:
    model = chain(conv(1, 8), nn.BatchNorm2d(8), nn.ReLU(), conv(8, 2))
    apply_masks(model, {"0.weight": (torch.arange(8) % 2 == 0)[:, None]})
    images = pictures(2, 1, 16, 16)
    small = compact(model, images)
    before = copy.deepcopy(small.state_dict())
    small.train()
    optimiser = torch.optim.SGD(small.parameters(), lr=0.05)
    losses = []
    for _ in range(5):
        optimiser.zero_grad()
        loss = outputs(small(images))[0].square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    changed = [name for name, value in small.state_dict().items() if not value.equal(before[name])]
    assert "1.running_mean" in changed and "0.weight" in changed


class Special(nn.Module):
    """One function of a picture and a layer."""

    def __init__(self, function: object, **parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> object:
        return self.function(self, x)


def conv(first: int, second: int, **settings: object) -> nn.Conv2d:
    return nn.Conv2d(first, second, 3, padding=1, **settings)


def _doubled(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, 1:3] *= 2
    return y


SPECIAL = {
    "shared PReLU on different channels": lambda: Special(
        lambda m, x: m.c(m.act(m.a(x)) + m.act(m.b(x))),
        a=conv(2, 4), b=conv(2, 4), c=conv(4, 2), act=nn.PReLU(4),
    ),
    "shared convolution": lambda: Special(
        lambda m, x: m.b(m.a(m.a(m.a(x).relu()).relu())), a=conv(2, 2), b=conv(2, 3)
    ),
    "cast and back": lambda: Special(
        lambda m, x: m.b(m.a(x).double().sin().float()), a=conv(2, 4), b=conv(4, 2)
    ),
    "cast at the end": lambda: Special(lambda m, x: m.a(x).double(), a=conv(2, 4)),
    "dead values of two sizes": lambda: Special(
        lambda m, x: (
            m.a(x) * 2 + functional.softplus(m.d(x))
            + functional.interpolate(functional.softplus(m.d(functional.max_pool2d(x, 2))),
                                     scale_factor=2)
        ),
        a=conv(2, 4), d=conv(2, 4, bias=False),
    ),
    "classes": lambda: Special(lambda m, x: (m.a(x).argmax(1), m.a(x) > 0), a=conv(2, 4)),
    "one channel for all": lambda: Special(
        lambda m, x: m.a(functional.softplus(torch.cat([x[:, :1], x[:, :1]], 1))), a=conv(2, 4)
    ),
    "dictionary": lambda: Special(
        lambda m, x: {"seg": m.a(x), "more": [m.b(x), m.a(x).mean((2, 3))]},
        a=conv(2, 4), b=conv(2, 3),
    ),
    "batch norm that averages": lambda: Special(
        lambda m, x: m.b(m.n(m.a(x))), a=conv(2, 4), n=nn.BatchNorm2d(4, momentum=None),
        b=conv(4, 2),
    ),
    "channel shuffle": lambda: Special(
        lambda m, x: m.b(m.a(x).view(x.shape[0], 2, 2, *x.shape[2:]).transpose(1, 2)
                         .reshape(x.shape[0], 4, *x.shape[2:])),
        a=conv(2, 4), b=conv(4, 2),
    ),
    "spatial slices": lambda: Special(
        lambda m, x: m.b(m.a(x)[:, :, 1:-1, 2:]), a=conv(2, 4), b=conv(4, 2)
    ),
    "written into channels": lambda: Special(
        lambda m, x: m.b(_doubled(m.a(x))), a=conv(2, 4), b=conv(4, 2)
    ),
    "random in eval mode": lambda: Special(
        lambda m, x: m.b(m.a(x) + torch.randn_like(x[:, :1])), a=conv(2, 4), b=conv(4, 2)
    ),
    "one dimension": lambda: Special(
        lambda m, x: m.b(m.a(x.flatten(2)).relu()),
        a=nn.Conv1d(2, 4, 3, padding=1), b=nn.Conv1d(4, 2, 3, padding=1),
    ),
    "unpooling": lambda: Special(
        lambda m, x: m.c(functional.max_unpool2d(m.b(*(p := functional.max_pool2d(
            m.a(x), 2, return_indices=True))[:1]), p[1], 2)),
        a=conv(2, 4), b=conv(4, 4), c=conv(4, 2),
    ),
    "nan": lambda: Special(lambda m, x: m.a(x.sqrt()), a=conv(2, 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", SPECIAL)
def test_special(name: str) -> None:
    model = randomise(SPECIAL[name](), 1)
    generator = torch.Generator().manual_seed(4)
    masks = {
        n: torch.rand(p.shape[:2], generator=generator) < 0.6
        for n, p in model.named_parameters()
        if p.ndim >= 3
    }
    if "d.weight" in masks:
        masks["d.weight"][:] = False
    apply_masks(model, masks)
    images = pictures(2, 2, 12, 12)
    random_state = torch.get_rng_state()
    small = compact(model, images)
    assert torch.equal(random_state, torch.get_rng_state())
    if name == "random in eval mode":
        return
    with torch.no_grad():
        wanted, found = model(images), small(images)
    want, have = tree_leaves(wanted), tree_leaves(found)
    assert tree_structure(wanted) == tree_structure(found)
    for a, b in zip(have, want, strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5, equal_nan=True)


def test_shared_layers_stay_shared_and_buffers_stay_buffers() -> None:
    model = randomise(SPECIAL["shared convolution"](), 1)
    small = compact(model, pictures(1, 2, 9, 9))
    assert {n for n, _ in small.named_parameters()} == {n for n, _ in model.named_parameters()}

    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("grid", torch.ones(1, 2, 1, 1))
            self.offset = nn.Parameter(torch.ones(1, 2, 1, 1))
            self.a = conv(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x * self.grid + self.offset)

    small = compact(Positions(), pictures(1, 2, 9, 9))
    assert len(list(small.parameters())) == 3
    assert len(list(small.buffers())) == 1


def test_colliding_names() -> None:
    class Names(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a_b = nn.ParameterDict({"c": torch.full((1, 2, 1, 1), 2.0)})
            self.a = nn.ParameterDict({"b_c": torch.full((1, 2, 1, 1), 3.0)})
            self.channels = conv(2, 6)

        def forward(self, x: Tensor) -> Tensor:
            return self.channels(x * self.a_b["c"] - self.a["b_c"])[:, ::2].flip(1)

    model, images = Names(), pictures(1, 2, 9, 9)
    assert_equal(model, compact(model, images), images, 1e-6)


def test_masked_biases_and_shifts() -> None:
    model = chain(conv(1, 6), nn.BatchNorm2d(6), nn.ReLU(), conv(6, 2))
    apply_channel_masks(
        model,
        {
            "0.bias": torch.arange(6) > 2,
            "1.bias": torch.arange(6) > 3,
            "1.weight": torch.arange(6) > 4,
        },
    )
    images = pictures(1, 1, 9, 9)
    assert_equal(model, compact(model, images), images, 1e-5)


def test_everything_pruned() -> None:
    model = chain(conv(1, 4, bias=False), nn.ReLU(), conv(4, 2, bias=False))
    apply_masks(model, {"0.weight": torch.zeros(4, 1, dtype=torch.bool)})
    small = compact(model, pictures(1, 1, 9, 9))
    assert torch.equal(small(pictures(2, 1, 7, 8)), torch.zeros(2, 2, 7, 8))


def test_dead_values_that_are_added_have_the_size_of_the_picture() -> None:
    def forward(model: nn.Module, x: Tensor) -> Tensor:
        return model.b(functional.softplus(model.d(x) + model.e(x)) + model.d(model.d(x)))

    model = Special(forward, d=conv(2, 2, bias=False), e=conv(2, 2, bias=False), b=conv(2, 3))
    randomise(model, 0)
    nothing = torch.zeros(2, 2, dtype=torch.bool)
    apply_masks(model, {"d.weight": nothing, "e.weight": nothing})
    small = compact(model, pictures(1, 2, 9, 9))
    for shape in [(1, 2, 9, 9), (3, 2, 6, 11)]:
        assert_equal(model, small, pictures(*shape), 1e-5)


def test_an_output_that_is_a_parameter_is_an_error() -> None:
    model = Special(lambda m, x: (m.a(x), m.a.weight), a=conv(2, 2))
    with pytest.raises(ModelError, match="does not depend on the input"):
        compact(model, pictures(1, 2, 9, 9))


def test_bad_example_inputs() -> None:
    with pytest.raises(ModelError, match="fails on example_inputs"):
        compact(MSD(3, 1, 2), torch.zeros(1, 2, 9, 9))


def test_weights_on_another_device_are_sliced_there() -> None:
    with FakeTensorMode():  # as strict about devices as a GPU is
        weight = torch.empty(4, 2, 3, 3, device="cuda")
        taken = _taken(weight, 0, np.array([True, False, True, False]))
    assert taken.device == weight.device and taken.shape == (2, 2, 3, 3)
