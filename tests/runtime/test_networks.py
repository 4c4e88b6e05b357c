"""Every kind of network compiled, against the masked one, also at other sizes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils._pytree import tree_map

from leanline.errors import ModelError
from leanline.models import FCNResNet50, UNet4
from leanline.runtime import compile
from networks import NETWORKS, make
from plane_programs import assert_close
from soundness import outputs_of

from .networks import (
    Dense,
    Residual,
    Siamese,
    convolutions,
    mask_at_random,
    pictures,
    randomise,
    regions,
)

WITHOUT = {"one axis", "three axes"}
"""No convolution of these is one of pictures."""


def at(inputs: tuple[Any, ...], batch: int, *size: int) -> tuple[Any, ...]:
    """Inputs of another batch and, where it is given, of another height and width."""
    return tree_map(lambda x: pictures(batch, x.shape[1], *(size or x.shape[2:]), seed=9), inputs)


def check(model: nn.Module, fast: nn.Module, inputs: tuple[Any, ...]) -> bool:
    """Whether the model takes the inputs; where it does, `fast` has to do the same."""
    try:
        wanted = outputs_of(model, inputs)
    except Exception:
        return False
    for want, have in zip(wanted, outputs_of(fast, inputs), strict=True):
        assert have.dtype == want.dtype
        assert_close(have, want, "output")
    return True


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("keep", [1.0, 0.5, 0.2])
def test_every_network(name: str, keep: float) -> None:
    model, inputs = make(name)
    if keep < 1:
        mask_at_random(model, keep, 1)
    if name in WITHOUT:
        with pytest.raises(ModelError, match="cannot run any part"):
            compile(model, inputs, "cpu", 1)
        return
    state = torch.get_rng_state()
    fast = compile(model, inputs, "cpu", 1)
    assert torch.equal(state, torch.get_rng_state())
    assert convolutions(fast) == 0 and regions(fast)
    assert check(model, fast, inputs)
    check(model, fast, at(inputs, 3))
    check(model, fast, at(inputs, 2, 20, 16))


LARGER: dict[str, tuple[Callable[[], nn.Module], int, tuple[int, int], tuple[int, int]]] = {
    "U-Net": (lambda: UNet4(1, 2, width=3), 1, (32, 48), (37, 41)),
    "U-Net at an odd size": (lambda: UNet4(1, 2, width=2), 1, (35, 50), (32, 32)),
    "U-Net, bilinear": (lambda: UNet4(1, 2, width=2, upsampling="bilinear"), 1, (32, 32), (40, 33)),
    "FCN-ResNet50": (lambda: FCNResNet50(2, 3, width=2), 2, (33, 40), (24, 48)),
    "dense": (Dense, 2, (21, 18), (16, 32)),
    "residual": (Residual, 2, (24, 20), (16, 36)),
}  # fmt: skip


@pytest.mark.parametrize("name", LARGER)
@pytest.mark.parametrize("keep", [1.0, 0.3])
def test_larger_networks(name: str, keep: float) -> None:
    make, channels, size, other = LARGER[name]
    model = randomise(make(), 3).eval()
    mask_at_random(model, keep, 5)
    fast = compile(model, pictures(1, channels, *size), "cpu", 2)
    assert convolutions(fast) == 0
    for batch, sizes in ((1, size), (3, size), (2, other)):
        assert check(model, fast, (pictures(batch, channels, *sizes, seed=2),))


def test_containers_are_those_of_the_model() -> None:
    model = randomise(Residual())
    fast = compile(model, pictures(1, 2, 16, 16), "cpu", 1)
    assert list(fast(pictures(1, 2, 16, 16))) == ["out", "deep"]
    model, (batch,) = make("dictionary")
    fast = compile(model, (batch,), "cpu", 1)
    turned = dict(reversed(batch.items()))
    with torch.no_grad():
        want, have = model(batch), fast(turned)
    assert_close(have["labels"], want["labels"], "labels")
    with pytest.raises(ModelError, match=r"\['mask'\]: 4 axes, 1 channels"):
        fast({"image": batch["image"], "mask": batch["image"]})


def test_pictures_of_different_batch_and_size() -> None:
    model = randomise(Siamese())
    inputs = (pictures(1, 2, 9, 9), pictures(3, 2, 15, 12))
    fast = compile(model, inputs, "cpu", 2)
    assert len(regions(fast)) == 2
    assert check(model, fast, inputs)
    assert check(model, fast, (pictures(2, 2, 9, 8), pictures(2, 2, 9, 8)))


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("batch", [1, 3])
def test_threads_change_no_bit(threads: int, batch: int) -> None:
    model = randomise(UNet4(1, 2, width=2), 3)
    images = pictures(batch, 1, 33, 36)
    one, several = (compile(model, images, "cpu", n)(images) for n in (1, threads))
    assert torch.equal(one, several)


@pytest.mark.parametrize("mode", ["zeros", "replicate", "reflect"])
def test_padded_pooling_within_padding_of_another_kind(mode: str) -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(2, 3, 3, padding=1, padding_mode=mode)
            self.b = nn.Conv2d(3, 3, 3, padding=1, padding_mode=mode)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = functional.max_pool2d(self.a(x).relu(), 2, 1, 1)
            return functional.avg_pool2d(self.b(y), 3, 1, 1)

    model = randomise(Pooled(), 1)
    fast = compile(model, pictures(1, 2, 12, 12), "cpu", 1)
    assert check(model, fast, (pictures(2, 2, 9, 14),))
