"""Networks that take and return tuples, lists, dictionaries and the like."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from leanline.compaction import compact, load, save
from leanline.errors import CheckpointError, ConfigError, ModelError
from networks import Net, c3, conv

from .random_nets import mask_at_random, randomise

Pair = namedtuple("Pair", "first second")


class Output(OrderedDict[str, Any]):
    """As libraries of models have: a dictionary with attributes, known to PyTorch."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


pytree.register_pytree_node(
    Output,
    lambda value: (list(value.values()), list(value)),
    lambda values, keys: Output(zip(keys, values, strict=True)),
    serialized_type_name="tests.Output",
)


def network(function: Any) -> nn.Module:
    return mask_at_random(randomise(Net(function, a=c3(2, 4), b=c3(2, 3), out=conv(4, 2, 1)), 0), 5)


OUTPUTS = {
    "a tensor": lambda m, x: m.out(m.a(x)),
    "a tuple": lambda m, x: (m.a(x), m.b(x)),
    "a tuple of one": lambda m, x: (m.a(x),),
    "a list": lambda m, x: [m.a(x), m.b(x)],
    "a dictionary": lambda m, x: {"z": m.a(x), "a": [m.b(x), {"deep": (m.out(m.a(x)),)}]},
    "an ordered dictionary": lambda m, x: OrderedDict(out=m.a(x), aux=m.b(x)),
    "a named tuple": lambda m, x: {"pair": Pair(m.a(x), m.b(x))},
    "a class": lambda m, x: Output(logits=m.a(x), hidden=(m.b(x), m.out(m.a(x)))),
    "nothing and numbers": lambda m, x: {"out": m.a(x), "loss": None, "scale": 2, "name": "n"},
    "the same one twice": lambda m, x: (y := m.a(x), [y]),
    "its height": lambda m, x: {"out": m.a(x), "height": x.shape[2]},
}


def assert_equal(want: Any, have: Any) -> None:
    assert type(want) is type(have)
    ours, spec = pytree.tree_flatten(want)
    theirs, other = pytree.tree_flatten(have)
    assert spec == other
    for one, two in zip(ours, theirs, strict=True):
        if isinstance(one, Tensor):
            torch.testing.assert_close(two, one, rtol=1e-5, atol=1e-5)
        else:
            assert one == two


@pytest.mark.parametrize("name", OUTPUTS)
def test_what_is_returned(name: str, tmp_path: Path) -> None:
    model = network(OUTPUTS[name])
    small = compact(model, torch.zeros(1, 2, 8, 8))
    assert small.meta["sizes"] == "any"
    save(small, tmp_path / "net.safetensors")
    loaded = load(lambda: network(OUTPUTS[name]), tmp_path / "net.safetensors")
    with torch.no_grad():
        for shape in [(1, 2, 8, 8), (3, 2, 12, 7)]:
            images = torch.randn(shape)
            want = model(images)
            assert_equal(want, small(images))
            assert_equal(want, loaded(images))


def _nested(m: Any, batch: dict[str, Any], more: list[Tensor], flag: bool = True) -> Any:
    y = m.a(batch["image"]) + m.a(batch["extra"][0])
    return {"out": m.out(y) if flag else y, "more": m.b(more[1])}


def arguments(*shape: int) -> tuple[Any, ...]:
    def draw() -> Tensor:
        return torch.randn(shape)

    return {"image": draw(), "extra": (draw(),)}, [draw(), draw()]


@pytest.mark.parametrize("flags", [(), (True,), (False,)])
def test_what_is_given(flags: tuple[bool, ...], tmp_path: Path) -> None:
    model = network(_nested)
    small = compact(model, (*arguments(1, 2, 8, 8), *flags))
    assert small.meta["sizes"] == "any"
    save(small, tmp_path / "net.safetensors")
    loaded = load(lambda: network(_nested), tmp_path / "net.safetensors")
    with torch.no_grad():
        for shape in [(1, 2, 8, 8), (3, 2, 12, 7)]:
            given = arguments(*shape)
            given[0]["unread"] = torch.zeros(1)
            want = model(*given, *flags)
            assert_equal(want, small(*given, *flags))
            assert_equal(want, small(*given))
            assert_equal(want, loaded(*given, *flags))
    if flags:
        with pytest.raises(ModelError, match=f"compacted for the argument {flags[0]}"):
            small(*given, not flags[0])


def test_containers_whose_keys_are_not_known() -> None:
    model = network(lambda m, batch: m.a(batch["image"]))
    with pytest.raises(ModelError, match="register it with keys"):
        compact(model, (Output(image=torch.zeros(1, 2, 8, 8)),))


def test_containers_that_cannot_be_written_down(tmp_path: Path) -> None:
    model = network(lambda m, batch: m.a(batch[1]))
    small = compact(model, ({1: torch.zeros(1, 2, 8, 8)},))
    with pytest.raises(ConfigError, match="cannot be written down"):
        save(small, tmp_path / "net.safetensors")


def test_a_factory_that_returns_another_container(tmp_path: Path) -> None:
    save(compact(network(OUTPUTS["a list"]), torch.zeros(1, 2, 8, 8)), tmp_path / "net")
    with pytest.raises(CheckpointError, match="another network"):
        load(lambda: network(OUTPUTS["a tensor"]), tmp_path / "net")
