"""Training with single convolutions on the plane kernels."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from leanline.errors import ModelError
from leanline.masks import apply_masks
from leanline.models import UNet4
from leanline.runtime import layers, trainable
from leanline.runtime.layers import SwappedNetwork, swap_layers
from plane_programs import assert_close

from .networks import mask_at_random


def pictures(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Mixed(nn.Module):
    """Batch norm, dropout, strides, groups, a transposed layer, no bias, a layer used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(2, 8, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.grouped = nn.Conv2d(8, 8, 5, padding=2, groups=2)
        self.twice = nn.Conv2d(8, 8, 3, padding=2, dilation=2)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.drop = nn.Dropout2d(0.5)
        self.mirrored = nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")
        self.last = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.down(x)).relu()
        x = self.twice(self.twice(self.grouped(x)).relu())
        return self.last(self.mirrored(self.drop(self.up(x))))


MAKERS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "mixed": (Mixed, 2),
    "unet": (lambda: UNet4(1, 2, width=4), 1),
}


@pytest.fixture
def every_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """All layers are swapped, faster or not."""
    monkeypatch.setattr(
        layers, "step_seconds", lambda layer, picture: float(isinstance(layer, nn.Conv2d))
    )
    monkeypatch.setattr(layers.Measured, "get", lambda self, what, measure: measure())


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("training", [True, False])
def test_outputs_gradients_and_statistics_are_the_models(
    name: str, training: bool, every_layer: None
) -> None:
    make, channels = MAKERS[name]
    torch.manual_seed(0)
    model = make().train(training)
    mask_at_random(model, 0.4, 3, skip=("last", "final"))
    images = pictures(2, channels, 32, 32)
    plain = copy.deepcopy(model).double()
    fast = swap_layers(model, (images[:1],), 2)
    assert isinstance(fast, SwappedNetwork)
    assert len(fast.others) >= 2
    first, second = images.clone().requires_grad_(), images.double().requires_grad_()
    torch.manual_seed(1)
    have = fast(first)
    torch.manual_seed(1)
    want = plain(second)
    assert_close(have, want, "output")
    have.square().mean().backward()
    want.square().mean().backward()
    assert first.grad is not None and second.grad is not None
    assert_close(first.grad, second.grad, "gradient of the pictures", 1e-4)
    largest = max(float(p.grad.abs().max()) for p in plain.parameters() if p.grad is not None)
    for (key, a), b in zip(model.named_parameters(), plain.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None), key
        if a.grad is not None and b.grad is not None:
            assert float((a.grad - b.grad).abs().max()) <= 1e-5 * largest, key
    for (key, a), b in zip(model.named_buffers(), plain.buffers(), strict=True):
        assert_close(a, b, key)
    assert not any("forward" in vars(part) for part in model.modules())


def test_the_model_is_as_before_when_it_fails(every_layer: None) -> None:
    model = Mixed()
    mask_at_random(model, 0.3, 0, skip=("last",))
    fast = swap_layers(model, (pictures(1, 2, 16, 16),), 1)
    with pytest.raises(ModelError, match="takes"):
        fast(pictures(1, 3, 16, 16))
    assert not any("forward" in vars(part) for part in model.modules())


def test_a_dense_model_is_left_alone() -> None:
    model = Mixed()
    assert trainable(model, pictures(1, 2, 16, 16), 1) is model


def test_a_layer_that_deviates_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, every_layer: None
) -> None:
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8))
    apply_masks(model, {"0.weight": (torch.arange(8) < 3)[:, None]})
    monkeypatch.setattr(
        layers.SparseConvolution, "forward", lambda self, x: self._layer[0](x) * 1.1
    )
    assert swap_layers(model, (pictures(1, 1, 8, 8),), 1) is model


def test_layers_with_a_forward_of_their_own_keep_it(every_layer: None) -> None:
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8))
    apply_masks(model, {"0.weight": (torch.arange(8) < 3)[:, None]})
    own = model[0].forward = model[0].forward
    assert swap_layers(model, (pictures(1, 1, 8, 8),), 1) is model
    assert vars(model[0])["forward"] is own


def test_the_random_state_stays(every_layer: None) -> None:
    model = Mixed()
    mask_at_random(model, 0.3, 0, skip=("last",))
    before = torch.get_rng_state()
    swap_layers(model, (pictures(1, 2, 16, 16),), 1)
    assert torch.equal(torch.get_rng_state(), before)
