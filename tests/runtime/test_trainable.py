"""Training on the plane kernels: the gradients of the masked model, or PyTorch instead."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune

from leanline.kernels import registry
from leanline.masks import apply_channel_masks, apply_masks
from leanline.models import MSD
from leanline.runtime import trainable
from leanline.runtime.shared import SharedPlaneNetwork
from plane_programs import assert_close

from .networks import BufferMSD, ConcatMSD, Mixed, mask_at_random, randomise


def pictures(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def assert_same_training(model: nn.Module, images: Tensor) -> None:
    """Outputs and all gradients, the pictures' too, and then again after a step."""
    fast = trainable(model, images[:1], threads=2)
    assert isinstance(fast, SharedPlaneNetwork)
    plain = copy.deepcopy(model).double().train()
    ours, theirs = (
        torch.optim.Adam(m.parameters(), lr=1e-2, weight_decay=1e-2) for m in (model, plain)
    )
    for step in range(2):
        first, second = images.clone().requires_grad_(), images.double().requires_grad_()
        have, want = fast(first), plain(second)
        assert_close(have, want, f"output of step {step}")
        for optimiser, output in ((ours, have), (theirs, want)):
            optimiser.zero_grad()
            output.square().mean().backward()
        assert first.grad is not None and second.grad is not None
        assert_close(first.grad, second.grad, "gradient of the pictures", 1e-4)
        for (name, a), b in zip(model.named_parameters(), plain.parameters(), strict=True):
            assert b.grad is None or a.grad is not None, f"{name} got no gradient"
            if b.grad is not None and a.grad is not None:
                assert_close(a.grad, b.grad, name, 1e-4)
        # Adam's first step is lr * sign(gradient): copy, or rounding decides about zeros
        theirs.step()
        with torch.no_grad():
            for a, b in zip(model.parameters(), plain.parameters(), strict=True):
                a.copy_(b)


MAKERS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "msd": (lambda: MSD(8, 1, 2), 1),
    "msd width 2 reflect": (lambda: MSD(4, 2, 3, width=2, padding_mode="reflect"), 2),
    "cat": (ConcatMSD, 1),
    "buffer": (BufferMSD, 1),
    "mixed": (Mixed, 2),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("keep", [1.0, 0.4])
def test_gradients_equal_those_of_the_masked_model(name: str, keep: float) -> None:
    make, channels = MAKERS[name]
    model = randomise(make(), 2)
    if keep < 1:
        mask_at_random(model, keep, 0, skip=("final", "last"))
    assert_same_training(model, pictures(2, channels, 13, 17))


def test_masks_on_everything() -> None:
    model = randomise(ConcatMSD(), 2)
    mask_at_random(model, 0.6, 0)  # the last layer too
    apply_channel_masks(
        model, {"convs.1.bias": torch.tensor([False]), "last.bias": torch.tensor([True, False])}
    )
    assert_same_training(model, pictures(2, 1, 13, 17))


def test_a_dead_layer_and_biases_that_are_zero_but_not_masked() -> None:
    model = randomise(ConcatMSD(), 2)
    apply_masks(model, {"convs.3.weight": torch.zeros(1, 4, dtype=torch.bool)})
    with torch.no_grad():
        for conv in model.convs:
            conv.bias.zero_()
        model.convs[3].bias.fill_(0.25)
    assert_same_training(model, pictures(2, 1, 13, 17))


def test_masks_of_torch_prune_structured_or_not() -> None:
    model = randomise(ConcatMSD(), 2)
    prune.l1_unstructured(model.convs[4], "weight", 0.4)
    prune.random_structured(model.convs[5], "weight", 0.5, dim=1)
    images = pictures(2, 1, 13, 17)
    fast = trainable(model, images, 1)
    assert isinstance(fast, SharedPlaneNetwork)
    for _ in range(2):
        model.zero_grad()
        model(images).square().mean().backward()
        wanted = [p.grad.clone() for p in model.parameters()]
        model.zero_grad()
        fast(images).square().mean().backward()
        for parameter, want in zip(model.parameters(), wanted, strict=True):
            assert_close(parameter.grad, want, "gradient", 1e-4)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.sub_(0.1 * parameter.grad)
    apply_masks(model, {"convs.4.weight": torch.tensor([[True] * 4 + [False]])})
    images = pictures(1, 1, 13, 17)
    with torch.no_grad():
        assert_close(trainable(model, images, 1)(images), model(images), "output")


def test_weight_norm_and_buffers_as_weights() -> None:
    class Edges(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("sobel", torch.tensor([[1.0, 2, 1], [0, 0, 0], [-1, -2, -1]]))
            self.register_buffer("fixed", torch.randn(2, 1, 3, 3, generator=torch.Generator()))
            self.conv = parametrizations.weight_norm(nn.Conv2d(2, 3, 3, padding=1))

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(self.conv(functional.conv2d(x, self.fixed, padding=1)))

    model, images = Edges(), pictures(2, 1, 9, 9)
    fast = trainable(model, images, 1)
    assert isinstance(fast, SharedPlaneNetwork)
    model(images).square().mean().backward()
    wanted = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    fast(images).square().mean().backward()
    for parameter, want in zip(model.parameters(), wanted, strict=True):
        assert_close(parameter.grad, want, "gradient", 1e-4)


class Late(ConcatMSD):
    """Something happens before the last layer."""

    def __init__(self, happens: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__(depth=3)
        self.happens = happens

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for conv in self.convs:
            features.append(functional.relu(conv(torch.cat(features, 1))))
        return self.last(self.happens(self, torch.cat(features, 1)))


RANDOM: dict[str, Callable[[], nn.Module]] = {
    "functional dropout": lambda: Late(
        lambda m, y: functional.dropout(y, 0.01, training=m.training)
    ),
    "dropout layer": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Dropout2d(0.1), nn.Conv2d(4, 2, 3, padding=1)
    ),
    "dropout on the picture": lambda: nn.Sequential(nn.Dropout(0.2), nn.Conv2d(1, 4, 3, padding=1)),
    "noise": lambda: Late(lambda m, y: y + 0.1 * torch.randn_like(y) if m.training else y),
    "batch norm": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1)
    ),
    "doubled in training": lambda: Late(lambda m, y: y * 2 if m.training else y),
}


@pytest.mark.parametrize("name", RANDOM)
def test_what_differs_in_training_runs_in_pytorch(name: str) -> None:
    model = randomise(RANDOM[name]())
    for mode in (True, False):
        model.train(mode)
        before = copy.deepcopy(model.state_dict())
        random_state = torch.get_rng_state()
        # black pictures do not show what happens to them
        assert trainable(model, torch.zeros(1, 1, 16, 16), 1) is model
        assert torch.equal(random_state, torch.get_rng_state())
        assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
        assert all(module.training == mode for module in model.modules())


def test_dropout_of_nothing_and_without_effect_is_fine() -> None:
    model = randomise(Late(lambda m, y: functional.dropout(y, 0.0, training=m.training)))
    assert isinstance(trainable(model, pictures(1, 1, 9, 9), 1), SharedPlaneNetwork)


def test_old_style_norms_run_in_pytorch() -> None:
    with pytest.warns(FutureWarning):
        model = nn.utils.weight_norm(nn.Conv2d(1, 2, 3, padding=1))
    assert trainable(model, pictures(1, 1, 9, 9), 1) is model


def test_evaluation_without_gradients_and_parameters_that_are_frozen() -> None:
    model = randomise(ConcatMSD(), 2)
    images = pictures(2, 1, 13, 17)
    fast = trainable(model, images, 1)
    with torch.no_grad():
        assert_close(fast(images), model(images), "output")
    model.convs.requires_grad_(False)
    fast = trainable(model, images, 1)
    fast(images).sum().backward()
    assert model.convs[0].weight.grad is None
    assert model.last.weight.grad is not None


def test_copies_outlive_the_original() -> None:
    model = MSD(4, 1, 2)
    mask_at_random(randomise(model), 0.5, 2)
    images = pictures(1, 1, 16, 16)
    fast = trainable(model, images, 1)
    assert isinstance(fast, SharedPlaneNetwork)
    want, again = fast(images).detach(), copy.deepcopy(fast)
    key = fast.planes.key
    del fast
    registry._programs[key].discard(next(iter(registry._programs[key] - {again.planes.program})))
    again(images).sum().backward()
    assert torch.equal(again(images), want)
    assert any(p.grad is not None for p in again.model.parameters())
    assert all(p.grad is None for p in model.parameters())


def test_channels_in_another_order_do_not_fail() -> None:
    class Shuffled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 2, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.first(x)[:, [2, 0, 1, 3]])

    model = Shuffled()
    mask_at_random(model, 0.7, 1)
    images = pictures(1, 1, 16, 16)
    assert_close(trainable(model, images, 1)(images), model(images), "output")
