from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from leanline.errors import CheckpointError
from leanline.records.tensors import load_tensors, save_tensors

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool]


@given(
    shapes=st.lists(st.lists(st.integers(0, 4), max_size=3), max_size=3),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 99),
)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, shapes: list[list[int]], dtype: torch.dtype, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        f"t.{index}": torch.randint(0, 2, shape, generator=generator).to(dtype)
        for index, shape in enumerate(shapes)
    }
    file = tmp_path_factory.mktemp("tensors") / "a.safetensors"
    digest = save_tensors(file, tensors, {"note": "\N{GREEK SMALL LETTER BETA}"})
    loaded, metadata = load_tensors(file)
    assert loaded.keys() == tensors.keys()
    assert metadata == {"note": "\N{GREEK SMALL LETTER BETA}", "sha256": digest}
    for name, tensor in tensors.items():
        assert loaded[name].dtype == dtype
        assert torch.equal(loaded[name], tensor)
    # another reader agrees
    assert all(torch.equal(value, tensors[name]) for name, value in load_file(file).items())


def test_views_and_shared_storage_and_gradients(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    weight = torch.nn.Parameter(base.clone())
    save_tensors(tmp_path / "a", {"whole": base, "turned": base.T, "row": base[1], "w": weight})
    loaded, _ = load_tensors(tmp_path / "a")
    assert torch.equal(loaded["turned"], base.T)
    assert torch.equal(loaded["row"], base[1])
    assert not loaded["w"].requires_grad


def test_equal_content_gives_an_equal_checksum(tmp_path: Path) -> None:
    first = save_tensors(tmp_path / "a", {"x": torch.ones(3), "y": torch.zeros(2)}, {"k": "v"})
    second = save_tensors(tmp_path / "b", {"y": torch.zeros(2), "x": torch.ones(3)}, {"k": "v"})
    assert first == second
    assert save_tensors(tmp_path / "c", {"x": torch.ones(3)}, {"k": "v"}) != first


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_a_truncated_file(tmp_path: Path, length: int) -> None:
    file = tmp_path / "net.safetensors"
    save_tensors(file, {"x": torch.ones(100)})
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r"net\.safetensors is truncated"):
        load_tensors(file)


def test_a_flipped_bit(tmp_path: Path) -> None:
    file = tmp_path / "net.safetensors"
    save_tensors(file, {"x": torch.ones(100)})
    content = bytearray(file.read_bytes())
    content[-7] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"net\.safetensors is damaged"):
        load_tensors(file)


def test_a_file_of_somebody_else(tmp_path: Path) -> None:
    save_file({"x": torch.ones(3)}, tmp_path / "theirs")
    with pytest.raises(CheckpointError, match="theirs is damaged"):
        load_tensors(tmp_path / "theirs")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no file .*nothing"):
        load_tensors(tmp_path / "nothing")
