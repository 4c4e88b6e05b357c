"""Files of compact networks: equal bit for bit in a new process, and refused when damaged."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from leanline.compaction import compact, load, save
from leanline.compaction.recipe import Recipe
from leanline.errors import CheckpointError, ConfigError
from leanline.models import MSD
from leanline.records.tensors import load_tensors, save_tensors

from .random_nets import RandomNet, mask_at_random, outputs, randomise


def make() -> nn.Module:
    return MSD(6, 1, 2, seed=1)


def small_network() -> nn.Module:
    return compact(mask_at_random(randomise(make(), 1), 2), torch.zeros(1, 1, 12, 12))


def pictures(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), linear=st.booleans())
def test_loads_what_was_saved_bit_for_bit(
    seed: int, linear: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = mask_at_random(randomise(RandomNet(seed, linear), seed), seed)
    images = pictures(2, model.inputs, 16, 16)
    small = compact(model, images[:1])
    path = tmp_path_factory.mktemp("net") / "net.safetensors"
    save(small, path)
    loaded = load(lambda: RandomNet(seed, linear), path)
    assert not loaded.training
    assert loaded.meta["recipe"] == small.meta["recipe"]
    with torch.no_grad():
        pairs = zip(outputs(small(images)), outputs(loaded(images)), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_new_process_computes_the_same_bits(tmp_path: Path) -> None:
    small = small_network()
    with torch.no_grad():  # as after fine-tuning
        for parameter in small.parameters():
            parameter.mul_(1.25)
    save(small, tmp_path / "net.safetensors")
    images = pictures(2, 1, 17, 13)
    code = f"""
import torch
from leanline.compaction import load
from leanline.models import MSD
from leanline.records.tensors import save_tensors
torch.set_num_threads(1)
net = load(lambda: MSD(6, 1, 2), {str(tmp_path / "net.safetensors")!r})
images = torch.randn(2, 1, 17, 13, generator=torch.Generator().manual_seed(0))
save_tensors({str(tmp_path / "out.safetensors")!r}, {{"out": net(images)}})
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    with torch.no_grad():
        want = small(images)
    assert torch.equal(load_tensors(tmp_path / "out.safetensors")[0]["out"], want)


def test_loaded_networks_can_be_saved_again(tmp_path: Path) -> None:
    save(small_network(), tmp_path / "a.safetensors")
    loaded = load(make, tmp_path / "a.safetensors")
    assert loaded.leanline_ignore == ("final",)
    save(loaded, tmp_path / "b.safetensors")
    first, second = (load_tensors(tmp_path / f"{name}.safetensors") for name in "ab")
    assert first[1] == second[1]  # the checksum of the tensors is among the text


def test_only_compact_networks_can_be_saved(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="MSD without a recipe"):
        save(make(), tmp_path / "net.safetensors")


@pytest.mark.parametrize("keep", [0, 7, 100, 0.5, -1])
def test_truncated(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "net.safetensors"
    save(small_network(), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(CheckpointError, match="truncated"):
        load(make, path)


def test_one_byte_changed_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save(small_network(), path)
    content = path.read_bytes()
    for place in range(9, len(content), 97):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(CheckpointError, match=r"truncated|damaged"):
            load(make, path)


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no file"):
        load(make, tmp_path / "none")
    save_tensors(tmp_path / "other", {"a": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="no recipe"):
        load(make, tmp_path / "other")


@pytest.mark.parametrize(
    "factory",
    [
        lambda: MSD(5, 1, 2),
        lambda: MSD(7, 1, 2),
        lambda: MSD(6, 2, 2),
        lambda: MSD(6, 1, 3),
        lambda: MSD(6, 1, 2, width=2),
        lambda: nn.Conv2d(1, 2, 3),
        lambda: nn.Linear(3, 4),
    ],
)
def test_another_network(tmp_path: Path, factory: Any) -> None:
    save(small_network(), tmp_path / "net.safetensors")
    with pytest.raises(CheckpointError, match=r"another network \(leanline.models.msd.MSD, torch"):
        load(factory, tmp_path / "net.safetensors")


def test_a_factory_that_makes_no_module(tmp_path: Path) -> None:
    save(small_network(), tmp_path / "net.safetensors")
    with pytest.raises(ConfigError, match="not a torch"):
        load.__wrapped__(dict, tmp_path / "net.safetensors")


def edited(tmp_path: Path, change: Any) -> Path:
    """A file with another recipe and a right checksum, as only an attacker would write it."""
    save(small_network(), tmp_path / "net.safetensors")
    tensors, metadata = load_tensors(tmp_path / "net.safetensors")
    recipe = json.loads(metadata["recipe"])
    change(recipe)
    save_tensors(tmp_path / "edited", tensors, {"recipe": json.dumps(recipe)})
    return tmp_path / "edited"


def _first(recipe: dict[str, Any], part: str) -> str:
    return sorted(recipe[part])[0]


CHANGES = {
    "negative": lambda r: r["live"].update({_first(r, "live"): [-1]}),
    "too large": lambda r: r["live"].update({_first(r, "live"): [0, 999]}),
    "huge": lambda r: r["reads"].update({_first(r, "reads"): [10**30]}),
    "not increasing": lambda r: r["reads"].update({_first(r, "reads"): [1, 0]}),
    "twice": lambda r: r["reads"].update({_first(r, "reads"): [1, 1]}),
    "no number": lambda r: r["live"].update({_first(r, "live"): ["0"]}),
    "a boolean": lambda r: r["live"].update({_first(r, "live"): [True]}),
    "no list": lambda r: r["live"].update({_first(r, "live"): "x"}),
    "nothing is read": lambda r: r["reads"].update({k: [] for k in r["reads"]}),
    "an unknown operation": lambda r: r["live"].update({"nobody": [0]}),
    "live is a list": lambda r: r.update(live=[]),
    "no live": lambda r: r.pop("live"),
    "no inputs": lambda r: r.update(inputs=[]),
    "many inputs": lambda r: r.update(inputs=[[[2**14, 2**14], "float32"]] * 100),
    "a huge input": lambda r: r.update(inputs=[[[1, 1, 10**9, 10**9], "float32"]]),
    "an odd input": lambda r: r.update(inputs=[[[1, 1, 0, 4], "float32"]]),
    "another input": lambda r: r.update(inputs=[[[1, 9, 4, 4], "float32"]]),
    "an odd type": lambda r: r.update(inputs=[[[1, 1, 4, 4], "object"]]),
    "newer": lambda r: r.update(format=2),
    "format is text": lambda r: r.update(format="1"),
    "no format": lambda r: r.pop("format"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_recipes_that_cannot_be(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        load(make, edited(tmp_path, CHANGES[name]))
    assert "edited" in str(caught.value)
    if name == "newer":
        assert "upgrade leanline" in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "3", "{}", "null", '{"format": 1}', "{" * 5000])
def test_texts_that_are_no_recipes(text: str) -> None:
    with pytest.raises(CheckpointError, match="damaged"):
        Recipe.from_json(text)


def test_deeply_nested_recipes() -> None:
    with pytest.raises(CheckpointError, match="damaged"):
        Recipe.from_json("[" * 100_000)


def test_the_header_is_plain_json(tmp_path: Path) -> None:
    save(small_network(), tmp_path / "net.safetensors")
    with safetensors.safe_open(tmp_path / "net.safetensors", "pt") as file:
        recipe = json.loads(file.metadata()["recipe"])
    assert recipe["architecture"] == "leanline.models.msd.MSD"
    assert recipe["inputs"] == [[[1, 1, 12, 12], "float32"]]
