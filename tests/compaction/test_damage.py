"""Files that are damaged, cut, or written by somebody who means harm are refused clearly."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from leanline.compaction import compact, load, save
from leanline.compaction.recipe import Recipe
from leanline.compaction.recipe_inputs import LARGEST, check_inputs, make_inputs, write_inputs
from leanline.errors import CheckpointError, ConfigError
from leanline.masks import apply_masks
from leanline.records.tensors import load_tensors, save_tensors

from .random_nets import mask_at_random, randomise


def dense() -> nn.Module:
    layers = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 2, 1)]
    return nn.Sequential(*layers)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("net") / "net.safetensors"
    small = compact(mask_at_random(randomise(dense(), 1), 4), torch.zeros(1, 1, 9, 9))
    save(small, path)
    return path


@settings(max_examples=60)
@given(data=st.data())
def test_any_bytes_changed_cut_or_repeated(file: Path, data: st.DataObject) -> None:
    content = file.read_bytes()
    broken = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(broken) - 1)) if broken else 0
        what = data.draw(st.sampled_from(["flip", "cut", "insert", "length", "repeat"]))
        if what == "flip" and broken:
            broken[place] ^= data.draw(st.integers(1, 255))
        elif what == "cut":
            del broken[place : place + data.draw(st.integers(1, 400))]
        elif what == "insert":
            broken[place:place] = data.draw(st.binary(min_size=1, max_size=20))
        elif what == "length" and len(broken) >= 8:
            broken[:8] = struct.pack("<Q", data.draw(st.integers(0, 2**64 - 1)))
        else:
            broken += broken[place : place + 100]
    if bytes(broken) == content:
        return
    path = file.with_name("broken.safetensors")
    path.write_bytes(broken)
    with pytest.raises(CheckpointError, match=r"truncated|damaged"):
        load(dense, path)


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 12),
    st.sampled_from([2**31, 2**63, 10**30, -(10**30)]),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(-2, 9), max_size=5),
    st.just([[[1, 1, 9, 9], "float32"]]),
    st.just({"value": None}),
    st.just({"dict": {"a": [[1, 1, 9, 9], "float32"]}}),
    st.dictionaries(st.sampled_from(["conv2d", "relu", "x", "list"]), st.just([0, 1]), max_size=2),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything in a JSON value."""
    keys = value if isinstance(value, dict) else range(len(value) if isinstance(value, list) else 0)
    return [path, *(found for key in keys for found in places(value[key], (*path, key)))]


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    key, rest = path[0], path[1:]
    changed = value.copy()
    changed[key] = put(value[key], rest, new)
    return changed


@settings(max_examples=60)
@given(data=st.data())
def test_any_value_of_the_recipe_changed(file: Path, data: st.DataObject) -> None:
    """It is refused, or it loads a network that works (a changed word of the architecture, say)."""
    tensors, metadata = load_tensors(file)
    recipe = json.loads(metadata["recipe"])
    path = data.draw(st.sampled_from(places(recipe)))
    recipe = put(recipe, path, data.draw(ODD))
    broken = file.with_name("recipe.safetensors")
    save_tensors(broken, tensors, {"recipe": json.dumps(recipe)})
    try:
        loaded = load(dense, broken)
    except CheckpointError as error:
        assert "recipe.safetensors" in str(error)
    else:
        assert {k: v.shape for k, v in loaded.state_dict().items()} == {
            k: v.shape for k, v in tensors.items()
        }


@given(
    st.recursive(
        st.one_of(
            st.none() | st.booleans() | st.integers() | st.text(max_size=3),
            st.lists(st.integers(1, 4), min_size=1, max_size=4).map(torch.zeros),
        ),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.lists(inner, max_size=3).map(tuple),
            st.dictionaries(st.text(max_size=3), inner, max_size=3),
        ),
        max_leaves=6,
    )
)
def test_inputs_are_read_as_they_were_written(value: Any) -> None:
    arguments = (torch.zeros(1, 1, 2, 2), value)
    data = json.loads(json.dumps(write_inputs(arguments)))
    again = make_inputs(check_inputs(data))
    leaves, spec = torch.utils._pytree.tree_flatten(arguments)
    others, other = torch.utils._pytree.tree_flatten(again)
    assert spec == other
    for one, two in zip(leaves, others, strict=True):
        same = torch.equal(one, two) if isinstance(one, torch.Tensor) else one == two
        assert same


@pytest.mark.parametrize(
    "shapes",
    [[LARGEST + 1], [2**13, 2**14], [2**40], [0], [-1], [True], [1.0], [], [1] * 7, "9", None],
)
def test_inputs_that_are_refused_before_they_are_made(shapes: Any) -> None:
    for data in ([[shapes, "float32"]], [{"list": [[shapes, "float32"]]}]):
        with pytest.raises(ValueError, match="input"):
            check_inputs(data)


@pytest.mark.parametrize("deep", [30, 900, 100_000])
def test_deep_inputs(deep: int) -> None:
    with pytest.raises(CheckpointError, match="damaged"):
        text = '{"format":1,"inputs":[' + '{"list":[' * deep + "]}" * deep + "]}"
        Recipe.from_json(text)


def test_the_tensors_of_another_network(file: Path, tmp_path: Path) -> None:
    tensors, metadata = load_tensors(file)
    save(compact(randomise(dense(), 2), torch.zeros(1, 1, 9, 9)), tmp_path / "other")
    others, _ = load_tensors(tmp_path / "other")
    save_tensors(tmp_path / "swapped", others, {"recipe": metadata["recipe"]})
    with pytest.raises(CheckpointError, match=r"in the file and .* in the network"):
        load(dense, tmp_path / "swapped")
    name = sorted(tensors)[0]
    save_tensors(tmp_path / "type", tensors | {name: tensors[name].double()}, metadata)
    with pytest.raises(CheckpointError, match=r"torch\.float64 in the file"):
        load(dense, tmp_path / "type")


def test_network_with_other_numbers_of_channels(tmp_path: Path) -> None:
    def make(inputs: int = 2, outputs: int = 2) -> nn.Module:
        return nn.Sequential(nn.Conv2d(inputs, 3, 3), nn.Conv2d(3, outputs, 1, bias=False))

    masked = make()
    first, last = torch.ones(3, 2, dtype=torch.bool), torch.ones(2, 3, dtype=torch.bool)
    first[:, 1] = last[1] = False  # a dead input, a dead output
    apply_masks(masked, {"0.weight": first, "1.weight": last})
    save(compact(masked, torch.zeros(1, 2, 9, 9)), tmp_path / "net.safetensors")
    assert load(make, tmp_path / "net.safetensors")(torch.zeros(1, 2, 9, 9)).shape[1] == 2
    with pytest.raises(CheckpointError, match="2 channels in the file and 3 in the network"):
        load(lambda: make(outputs=3), tmp_path / "net.safetensors")
    with pytest.raises(CheckpointError, match="another network"):
        load(lambda: make(inputs=3), tmp_path / "net.safetensors")
    with pytest.raises(ConfigError, match="got a Sequential; give a function"):
        load(make(), tmp_path / "net.safetensors")
