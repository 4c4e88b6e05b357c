"""Compact networks at other sizes than the example's, against the model."""

from __future__ import annotations

import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from leanline.compaction import compact, load, save
from leanline.compaction.expressions import Formula, Size, Sizes
from leanline.masks import apply_masks
from leanline.models import UNet4
from networks import Net, c3, conv

from .random_nets import randomise


def pruned(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    masks = {
        name: torch.rand(value.shape[:2], generator=generator) < 0.6
        for name, value in model.named_parameters()
        if value.ndim == 4
    }
    apply_masks(model, masks)
    return model


def assert_same(model: nn.Module, small: nn.Module, shapes: list[tuple[int, ...]]) -> None:
    for shape in shapes:
        images = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            want, have = model(images), small(images)
        torch.testing.assert_close(have, want, rtol=1e-5, atol=1e-5 * float(want.abs().max()))


def unet(up: Callable[[Any, Tensor, Tensor], Tensor]) -> nn.Module:
    """Two levels down and up again; `up` brings the lower picture to the size of the upper."""

    def forward(m: Any, x: Tensor) -> Tensor:
        y = F.relu(m.a(x))
        z = F.relu(m.b(m.pool(y)))
        w = F.relu(m.c(m.pool(z)))
        z = F.relu(m.d(torch.cat([z, up(m, w, z)], 1)))
        return m.out(torch.cat([y, up(m, z, y)], 1))

    return Net(
        forward, a=c3(2, 4), b=c3(4, 4), c=c3(4, 4), d=c3(8, 4), out=conv(8, 2, 1),
        pool=nn.MaxPool2d(2), twice=nn.Upsample(scale_factor=2, mode="bilinear"),
    )  # fmt: skip


def pad_around(m: Any, x: Tensor, like: Tensor) -> Tensor:
    x = m.twice(x)
    rows, columns = like.shape[2] - x.shape[2], like.shape[3] - x.shape[3]
    return F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))


def pad_in_case(m: Any, x: Tensor, like: Tensor) -> Tensor:
    x = m.twice(x)
    if x.shape != like.shape:
        x = F.pad(x, (0, like.shape[3] - x.shape[3], 0, like.shape[2] - x.shape[2]))
    return x


def resize_in_case(m: Any, x: Tensor, like: Tensor) -> Tensor:
    x = m.twice(x)
    if x.shape[2:] != like.shape[2:]:
        x = F.interpolate(x, size=like.shape[2:], mode="bilinear")
    return x


def padded_to_a_multiple(m: Any, x: Tensor) -> Tensor:
    height, width = x.shape[2:]
    x = F.pad(x, (0, -width % 8, 0, -height % 8), mode="reflect")
    y = m.out(F.relu(m.b(F.max_pool2d(F.relu(m.a(x)), 8))))
    return F.interpolate(y, scale_factor=8)[:, :, :height, :width]


def coordinates(m: Any, x: Tensor) -> Tensor:
    n, _, h, w = x.shape
    rows = torch.linspace(-1, 1, h).view(1, 1, h, 1).expand(n, 1, h, w)
    columns = torch.arange(w).float().div(w - 1).view(1, 1, 1, w).expand(n, -1, h, -1)
    return m.out(F.relu(m.a(torch.cat([x, rows, columns], 1))))


def tokens(m: Any, x: Tensor) -> Tensor:
    y = m.a(x)
    n, c, h, w = y.shape
    flat = y.view(n, c, h * w).transpose(1, 2)
    mixed = (flat @ flat.transpose(1, 2) * (1 / (h * w))).softmax(-1) @ flat
    return m.out(y + mixed.transpose(1, 2).reshape(n, c, h, w))


def windows(m: Any, x: Tensor) -> Tensor:
    y = m.a(x)
    n, c, h, w = y.shape
    parts = y.view(n, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 1, 3, 5).reshape(-1, c, 4, 4)
    parts = F.relu(m.b(parts)).reshape(n, h // 4, w // 4, c, 4, 4)
    return m.out(parts.permute(0, 3, 1, 4, 2, 5).reshape(n, c, h, w))


def centre(m: Any, x: Tensor) -> Tensor:
    y = m.valid(F.relu(m.a(x)))
    top, left = (x.shape[2] - y.shape[2]) // 2, (x.shape[3] - y.shape[3]) // 2
    return m.out(y + x[:, :1, top : top + y.shape[2], left : left + y.shape[3]])


def filled(m: Any, x: Tensor) -> Tensor:
    seen = torch.zeros(x.shape[0], 6, *x.shape[2:])
    seen[:, :2] = x
    seen[:, 2:] = m.a(x)
    return m.out(seen * torch.ones(x.shape[2:]).cumsum(0))


def plain(**layers: nn.Module) -> dict[str, nn.Module]:
    return {"a": c3(2, 4), "b": c3(4, 4), "out": conv(4, 2, 1)} | layers


ANY = [(1, 2, 24, 24), (2, 2, 24, 40), (3, 2, 25, 31), (2, 2, 38, 33)]
EVEN = [(1, 2, 24, 24), (3, 2, 40, 28)]
MODELS: dict[str, tuple[Callable[[], nn.Module], list[tuple[int, ...]]]] = {
    "resized": (lambda: unet(lambda m, x, y: F.interpolate(x, y.shape[-2:])), ANY),
    "padded on two sides": (lambda: unet(pad_around), ANY),
    "padded in case": (lambda: unet(pad_in_case), ANY),
    "resized in case": (lambda: unet(resize_in_case), ANY),
    "padded to a multiple": (lambda: Net(padded_to_a_multiple, **plain()), ANY),
    "coordinates": (lambda: Net(coordinates, **plain(a=c3(4, 4))), ANY),
    "tokens": (lambda: Net(tokens, **plain()), ANY),
    "windows": (lambda: Net(windows, **plain()), EVEN),
    "centre": (lambda: Net(centre, **plain(valid=conv(4, 4, 5))), ANY),
    "filled": (lambda: Net(filled, **plain(out=conv(6, 2, 1))), ANY),
    "pooled to the size": (
        lambda: Net(
            lambda m, x: m.out(F.avg_pool2d(F.relu(m.a(x)), x.shape[2:]).expand_as(m.a(x))),
            **plain(),
        ),
        ANY,
    ),
    "unet4": (lambda: UNet4(2, 2, width=2), [*ANY, (1, 2, 50, 16)]),
}


@pytest.mark.parametrize("name", MODELS)
def test_any_size(name: str, tmp_path: Path) -> None:
    make, shapes = MODELS[name]
    model = pruned(randomise(make(), 0))
    small = compact(model, torch.zeros(1, 2, 24, 24))
    assert small.meta["sizes"] == "any"
    assert_same(model, small, shapes)
    save(small, tmp_path / "net.safetensors")
    loaded = load(make, tmp_path / "net.safetensors")
    assert loaded.meta["sizes"] == "any" and loaded.meta["recipe"] == small.meta["recipe"]
    images = torch.randn(shapes[-1])
    with torch.no_grad():
        assert torch.equal(loaded(images), small(images))


def test_dead_layers_are_left_out_where_odd_sizes_were_traced() -> None:
    model = randomise(unet(pad_in_case), 0)
    with torch.no_grad():
        model.get_parameter("c.bias").zero_()
    nothing = torch.zeros(4, 4, dtype=torch.bool)
    apply_masks(model, {"c.weight": nothing})
    small = compact(model, torch.zeros(1, 2, 24, 24))
    assert small.meta["sizes"] == "any"
    assert small.get_parameter("d.weight").shape[1] < 8
    assert not any(name.startswith("c.") for name, _ in small.named_parameters())


def test_from_an_odd_example() -> None:
    model = pruned(randomise(UNet4(1, 2, width=2), 0))
    small = compact(model, torch.zeros(1, 1, 25, 22))
    assert small.meta["sizes"] == "any"
    assert_same(model, small, [(1, 1, 25, 22), (2, 1, 32, 48), (1, 1, 31, 50)])


def test_nothing_is_copied_where_the_model_copies_nothing() -> None:
    small = compact(pruned(randomise(unet(pad_in_case), 0)), torch.zeros(1, 2, 24, 24))
    seen = []

    class Calls(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):
            seen.append(str(func))
            return func(*args, **(kwargs or {}))

    for size, copies in ((24, 0), (25, 1)):
        seen.clear()
        with Calls(), torch.no_grad():
            small(torch.zeros(1, 2, size, 24))
        assert sum("pad" in call for call in seen) == copies


FIXED = {
    "the height stands in the code": (
        lambda: Net(lambda m, x: m.out(m.a(x) * torch.ones(24, 24)), **plain()),
        "any batch, and the example's height and width",
    ),
    "the batch stands in the code": (
        lambda: Net(lambda m, x: m.out(m.a(x).reshape(1, 4, *x.shape[2:])), **plain()),
        "any height and width, and the example's batch",
    ),
    "another network at other sizes": (
        lambda: Net(
            lambda m, x: m.out(m.a(x) if x.shape[2] == 24 else torch.sigmoid(m.a(x))), **plain()
        ),
        "any batch, and the example's height and width",
    ),
    "no simple expression": (
        lambda: Net(
            lambda m, x: m.out(m.a(x))[:, :, : max(1, (x.shape[2] ** 3 + 11) % 23)], **plain()
        ),
        "any batch, and the example's height and width",
    ),
}


@pytest.mark.parametrize("name", FIXED)
def test_what_is_fixed_is_said(name: str) -> None:
    make, said = FIXED[name]
    model = pruned(randomise(make(), 0))
    small = compact(model, torch.zeros(1, 2, 24, 24))
    assert small.meta["sizes"].startswith(said + ": ")
    assert_same(model, small, [(1, 2, 24, 24)])


def value(expression: Any, sizes: dict[int, int]) -> Any:
    if isinstance(expression, Size):
        return sizes[expression.axis]
    if isinstance(expression, Formula):
        return expression.function(*(value(term, sizes) for term in expression.terms))
    return expression


WANTED = {
    "the size": lambda h, w: h,
    "twice": lambda h, w: 2 * h,
    "half": lambda h, w: h // 2,
    "half, rounded up": lambda h, w: (h + 1) // 2,
    "one less": lambda h, w: w - 1,
    "pixels": lambda h, w: h * w,
    "a quarter of the pixels": lambda h, w: h * w // 4,
    "the sum": lambda h, w: h + w,
    "to a multiple of 16": lambda h, w: -h % 16,
    "one over the pixels": lambda h, w: 1 / (h * w),
    "one over the root": lambda h, w: (h * w) ** -0.5,
    "the ratio": lambda h, w: h / w,
}


@settings(max_examples=30)
@given(st.sampled_from(sorted(WANTED)), st.integers(3, 40), st.integers(3, 40))
def test_expressions_hold_at_a_third_size(name: str, height: int, width: int) -> None:
    """Two sizes far from each other tell these apart from everything simpler."""
    one, other = (64, 96), (97, 180)
    known = [(Size("x", axis), (one[axis], other[axis])) for axis in range(2)]
    function = WANTED[name]
    found = Sizes(known, []).find((function(*one), function(*other)))
    third = {0: 4 * height, 1: 4 * width}
    assert found is not None
    assert value(found, third) == pytest.approx(function(4 * height, 4 * width))


def test_numbers_without_an_expression() -> None:
    known = [(Size("x", 0), (64, 97))]
    assert Sizes(known, []).find((5, 1234567)) is None
    assert Sizes(known, []).find((0.123, 0.77)) is None
    assert Sizes([], known).find((64, 97)) == Size("x", 0)
    assert Sizes(known, []).find((128, 194)) == Formula(operator.mul, (Size("x", 0), 2))
