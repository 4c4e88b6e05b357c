"""A compiled network as an object: other sizes, copies, pickles, modes."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from leanline.errors import ModelError
from leanline.models import MSD
from leanline.runtime import compile
from leanline.runtime.compiled import CompiledNetwork
from leanline.runtime.specialise import always
from plane_programs import assert_close

from .networks import Dense, mask_at_random, pictures, randomise, regions


class Fixed(nn.Module):
    """Flattens a picture, so that its size is fixed; refuses others in its own words."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(1, 2, 3), nn.Linear(2 * 36, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.conv(x).flatten(1))


@pytest.mark.parametrize("how", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_compute_the_same(how: Any) -> None:
    for model, channels in ((MSD(6, 1, 2), 1), (Dense(), 2)):
        mask_at_random(randomise(model.eval(), 1), 0.5, 2)
        fast = compile(model, pictures(1, channels, 32, 32), "cpu", 1)
        assert isinstance(fast, CompiledNetwork)
        fast(pictures(1, channels, 40, 33))
        again = how(fast)
        for size in ((32, 32), (40, 33), (35, 50)):
            images = pictures(2, channels, *size)
            assert torch.equal(again(images), fast(images))
        again.load_state_dict(fast.state_dict())
        for one, two in zip(regions(fast), regions(again), strict=True):
            assert one.taps.data_ptr() != two.taps.data_ptr()


def test_sizes_that_do_not_fit_are_made_once_and_the_last_few_are_kept() -> None:
    made = []

    class Doubled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2

    class Picky(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[2] % 2:
                raise ModelError("odd")
            return x * 2

    def make(inputs: tuple[Tensor, ...]) -> nn.Module:
        made.append(tuple(inputs[0].shape))
        return Doubled()

    fast = CompiledNetwork(Picky(), (pictures(1, 1, 4, 4),), always, make)
    for height in (4, 6, 8, 5, 5, 6, 7, 5):
        images = pictures(2, 1, height, 4)
        assert torch.equal(fast(images), images * 2)
    assert made == [(2, 1, 5, 4), (2, 1, 7, 4)]
    for height in (9, 11, 13, 5, 7):
        fast(pictures(1, 1, height, 4))
    assert made[2:] == [(1, 1, 9, 4), (1, 1, 11, 4), (1, 1, 13, 4), (1, 1, 7, 4)]
    fixed = CompiledNetwork(Picky(), (pictures(1, 1, 4, 4),), lambda inputs: False, make)
    fixed(pictures(3, 1, 4, 4))
    fixed(pictures(1, 1, 6, 4))
    assert made[6:] == [(1, 1, 6, 4)]


def test_a_size_at_which_the_model_fails() -> None:
    model = randomise(Fixed())
    fast = compile(model, pictures(1, 1, 8, 8), "cpu", 1)
    with torch.no_grad():
        assert_close(fast(pictures(4, 1, 8, 8)), model(pictures(4, 1, 8, 8)), "output")
    with pytest.raises(ModelError, match=r"fails on example_inputs of \(1, 1, 9, 8\)"):
        fast(pictures(1, 1, 9, 8))


def test_several_inputs_are_named() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.conv(torch.cat([a, b], 1))

    model = randomise(Two())
    inputs = (pictures(1, 1, 8, 8), pictures(1, 2, 8, 8))
    fast = compile(model, inputs, "cpu", 1)
    with torch.no_grad():
        assert_close(fast(*inputs), model(*inputs), "output")
    with pytest.raises(ModelError, match=r"\[0\]: .* 2 channels.*compiled for \[0\]: .* 1 ch"):
        fast(*reversed(inputs))
    with pytest.raises(ModelError, match="compiled for"):
        fast(inputs[0])


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_made_in_inference_mode_and_used_outside(backend: str) -> None:
    model = randomise(MSD(4, 1, 2), 1).train()
    with torch.inference_mode():
        images = pictures(1, 1, 16, 16)
        fast = compile(model, images, backend, 1)
        have = fast(images).clone()
        fast(pictures(1, 1, 20, 16))
    assert not any(tensor.is_inference() for tensor in fast.state_dict().values())
    assert not fast.training and model.training
    with torch.no_grad():
        assert_close(have, model(pictures(1, 1, 16, 16)), "output")
    again = fast(pictures(1, 1, 16, 16).requires_grad_())
    assert torch.equal(again.detach(), have)


def test_strides_and_memory_formats_of_the_input() -> None:
    model = randomise(Dense(), 1).eval()
    images = pictures(2, 2, 24, 20)
    fast = compile(model, images, "cpu", 1)
    want = fast(images)
    assert torch.equal(fast(images.to(memory_format=torch.channels_last)), want)
    assert torch.equal(fast(images.transpose(2, 3).contiguous().transpose(2, 3)), want)
    assert torch.equal(fast(torch.cat([images, images])[:2]), want)


def test_gradients_of_pictures_reach_through_regions() -> None:
    model = MSD(6, 1, 2)
    mask_at_random(randomise(model.eval(), 1), 0.5, 2)
    fast = compile(model, pictures(1, 1, 16, 16), "cpu", 1)
    one, two = (pictures(1, 1, 16, 16).requires_grad_() for _ in range(2))
    fast(one).square().mean().backward()
    model(two).square().mean().backward()
    assert one.grad is not None and two.grad is not None
    assert_close(one.grad, two.grad, "gradient", 1e-4)
    with torch.inference_mode():
        assert not fast(pictures(1, 1, 16, 16)).requires_grad
