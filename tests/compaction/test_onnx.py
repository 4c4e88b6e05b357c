"""Exported networks against PyTorch, at sizes that the export did not check itself."""

import copy
import logging
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import leanline as ll
from leanline.compaction import onnx as exporting
from leanline.compaction import onnx_session
from leanline.errors import ConfigError, ModelError, RunError
from leanline.runtime import OnnxNetwork

from .random_nets import mask_at_random, outputs, randomise


def pictures(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def assert_same(model: nn.Module, path: Path, *inputs: Tensor) -> None:
    with torch.no_grad():
        want = outputs(model.eval()(*inputs))
    have = outputs(OnnxNetwork(path, 1)(*inputs))
    for one, other in zip(have, want, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))


def unet() -> nn.Module:
    return ll.models.UNet4(1, 2, width=4)


def test_a_compact_network_at_any_size(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = mask_at_random(randomise(unet(), 0), 3)
    example = pictures(1, 1, 32, 32)
    before = copy.deepcopy(model.state_dict())
    random_state = torch.get_rng_state()
    small = ll.compact(model, example)
    found = ll.export_onnx(small, example, tmp_path / "net.onnx")
    assert torch.equal(random_state, torch.get_rng_state())
    assert capfd.readouterr() == ("", "")
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert found.free == ("batch", "height", "width") and not found.fixed
    assert len(found.checked) == 2 and found.deviation < 1e-4
    assert (found.inputs, found.outputs) == (("input",), ("output",))
    for shape in [(3, 1, 48, 32), (1, 1, 16, 64)]:
        assert_same(model, tmp_path / "net.onnx", pictures(*shape, seed=1))
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    assert found.bytes == (tmp_path / "net.onnx").stat().st_size
    assert "any batch, height, width" in str(found)


def test_what_is_in_the_file(tmp_path: Path) -> None:
    model = randomise(nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 1)), 0)
    mask = torch.tensor([[True, False]] * 3 + [[False, False]])
    ll.apply_masks(model, {"0.weight": mask})
    found = ll.export_onnx(model, pictures(1, 2, 9, 9), tmp_path / "net.onnx")
    made = onnx.load(tmp_path / "net.onnx", load_external_data=False)
    assert {entry.domain for entry in made.opset_import} == {""}
    assert not made.functions
    notes = {entry.key: entry.value for entry in made.metadata_props}
    assert notes == {"leanline_version": ll.__version__, "kept_filters": "15"}
    assert found.kept_filters == 3 + 12
    (value,) = made.graph.input
    sizes = [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]
    assert sizes == ["batch", 2, "height", "width"]
    assert str(Path(__file__).parent) not in str(made)  # no trace of where it was made
    assert_same(model, tmp_path / "net.onnx", pictures(2, 2, 8, 12))


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)

    def forward(self, image: dict[str, Tensor], mask: Tensor) -> object:
        y = self.conv(image["left"])
        more = [y.argmax(1), image["right"] * mask]
        return {"seg": y, "again": y, "mask": mask, "more": more}


def test_names(tmp_path: Path) -> None:
    a, b, c = (pictures(2, 1, 9, 9, seed=seed) for seed in range(3))
    found = ll.export_onnx(Named(), ({"left": a, "right": b}, c), tmp_path / "net.onnx")
    assert found.inputs == ("image_left", "image_right", "mask")
    assert found.outputs == ("seg", "again", "mask_output", "more_0", "more_1")


class Dictionary(nn.Module):
    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return batch["one"] + 1, batch["two"].mean((2, 3))


def test_one_dictionary(tmp_path: Path) -> None:
    given = {"one": pictures(2, 1, 9, 9), "two": pictures(2, 1, 9, 9)}
    found = ll.export_onnx(Dictionary(), (given,), tmp_path / "net.onnx")
    assert found.inputs == ("one", "two")
    assert found.outputs == ("output_0", "output_1")


class Flat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.linear = nn.Linear(4 * 64, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.conv(x).relu().flatten(1))


class Torn(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(-1, 1, 8, 8) * 2


class Fixed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, 1, 8, 8) * 2


def test_axes_that_are_fixed_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "leanline"):
        found = ll.export_onnx(Flat(), pictures(1, 1, 8, 8), tmp_path / "net.onnx")
    assert found.free == ("batch",) and set(found.fixed) == {"height", "width"}
    assert "height is fixed: the network fails at height 13, 16, 40: mat1" in caplog.text
    assert "cannot be multiplied" in caplog.text
    caplog.clear()
    found = ll.export_onnx(Fixed(), pictures(2, 1, 8, 8), tmp_path / "net.onnx")
    assert found.free == () and set(found.fixed) == {"batch", "height", "width"}
    assert "batch is fixed: the network fails at batch 3" in caplog.text
    assert found.checked == (((2, 1, 8, 8),),)
    found = ll.export_onnx(Torn(), pictures(2, 1, 8, 8), tmp_path / "net.onnx")
    assert found.free == ("batch",)


def test_one_and_three_dimensions(tmp_path: Path) -> None:
    found = ll.export_onnx(nn.Conv1d(2, 3, 3), pictures(1, 2, 9), tmp_path / "net.onnx")
    assert found.free == ("batch", "length")
    found = ll.export_onnx(nn.Conv3d(1, 3, 3), pictures(1, 1, 5, 6, 7), tmp_path / "net.onnx")
    assert found.free == ("batch", "depth", "height", "width")


class Noise(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"clean": x + 1, "noisy": x + torch.randn_like(x)}


class Sorted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.relu() if bool(x.sum() > 0) else x


def test_what_cannot_be_exported_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"old")
    example = pictures(2, 1, 8, 8)
    with pytest.raises(ModelError, match=r"deviates by .* in output 'noisy' at 2 x 1 x 8 x 8"):
        ll.export_onnx(Noise(), example, path)
    with pytest.raises(ModelError, match="cannot express the network in ONNX"):
        ll.export_onnx(Sorted(), example, path)
    with pytest.raises(ModelError, match="fails on example_inputs"):
        ll.export_onnx(Flat(), example[..., :3], path)
    with pytest.raises(ModelError, match="called with tensors, not int"):
        ll.export_onnx(Flat(), (example, 3), path)
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    assert path.read_bytes() == b"old"
    with pytest.raises(RunError, match="there is no folder"):
        ll.export_onnx(Flat(), example, tmp_path / "none" / "net.onnx")


def test_a_wrong_file_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A translation that is right at the example's size alone falls back to that size."""
    translate = exporting.translate

    def wrong(network, sample, free):
        made = translate(network, sample, free)
        if {"height", "width"} & set(free):
            for tensor in made.model.graph.initializer:
                if len(tensor.dims) == 4:
                    tensor.raw_data = bytes(len(tensor.raw_data))
        return made

    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return functional.relu(self.conv(x))

    monkeypatch.setattr(exporting, "translate", wrong)
    with pytest.raises(ModelError, match="deviates by"):
        ll.export_onnx(Sum(), pictures(2, 1, 8, 8), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


class Huge(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(2**29, device="meta"))


def test_two_gigabytes(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="2,147,483,648 bytes of weights"):
        ll.export_onnx(Huge(), torch.zeros(1), tmp_path / "net.onnx")


def test_without_the_optional_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(ConfigError, match=r"onnxscript.*pip install leanline\[onnx\]"):
        ll.export_onnx(Flat(), pictures(1, 1, 8, 8), tmp_path / "net.onnx")


def test_a_session_uses_the_threads_that_are_given(tmp_path: Path) -> None:
    ll.export_onnx(nn.Conv2d(1, 2, 3), pictures(1, 1, 8, 8), tmp_path / "net.onnx")
    for threads in (1, 2):
        session = onnx_session(tmp_path / "net.onnx", threads)
        assert session.get_session_options().intra_op_num_threads == threads
        assert session.get_providers() == ["CPUExecutionProvider"]
