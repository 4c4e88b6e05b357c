import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.zoo import networks, pruned
from benchmarks.zoo.__main__ import main
from benchmarks.zoo.render import render
from benchmarks.zoo.run import Settings, run
from benchmarks.zoo.torch_pruning import EqualMacs, final_layers
from torch import Tensor, nn

import leanline as ll

FILE = """
import torch
from torch import nn

DEV = ["plain", "broken"]

class Batch(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 2, 3, padding=1),
        )

    def forward(self, batch):
        return {"labels": self.net(batch["image"])}

def build(name):
    torch.manual_seed(0)
    if name == "broken":
        raise ValueError("no such weights")
    return Batch().eval(), ({"image": torch.rand(1, 1, 16, 16)},), "any other thing"
"""


def small_network() -> nn.Module:
    torch.manual_seed(0)
    body = [nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 1)]
    return nn.Sequential(*body, nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1))


def made(model: nn.Module) -> networks.Network:
    return networks.make(lambda name: (model, torch.rand(2, 2, 12, 10)), "")


def settings(folder: Path, **changes: Any) -> Settings:
    file = folder / "networks_of_a_test.py"
    file.write_text(FILE)
    given = {"names": (), "keeps": [0.5, 0.01], "seconds": 0.0, "limit": 300.0, "resume": False}
    return Settings(file=file, out=folder / "out.json", **{**given, **changes})


def test_a_file_of_networks_becomes_a_page(tmp_path: Path) -> None:
    found = dict(run(settings(tmp_path)))
    document = json.loads((tmp_path / "out.json").read_text())
    assert document["networks"] == found
    plain = found["plain"]
    assert plain["filters"] == 24 and plain["adapted"] and plain["complete"]
    assert plain["macs"] == 256 * 24 * 9
    assert [case["keep"] for case in plain["cases"]] == [0.5, 0.01] * 2
    for case in plain["cases"]:
        assert case["deviation"] <= 1e-5
        assert case["larger"]["deviation"] <= 1e-5
        assert case["macs"] < plain["macs"]
        assert case["times"]["compact"]["ms"][1] > 0
    # no path through the network has fewer than two filters
    assert all(case["kept"] == 2 and "refused" in case for case in plain["cases"][1::2])
    assert found["broken"]["error"] == "ValueError: no such weights"
    page = render(document, "Two networks of a test.")
    assert "Two networks of a test." in page
    assert "ValueError: no such weights" in page
    row = next(line for line in page.splitlines() if line.startswith("| plain | 0.01 |"))
    assert "8.33 %" in row and "least possible: 8.3 %" in row
    heads = [line for line in page.splitlines() if line.startswith("| network")]
    assert len(heads) >= 3
    for table in page.split("\n\n"):
        if table.startswith("| "):
            assert len({line.count("|") for line in table.splitlines()}) == 1

    # what is complete is not measured again, what failed is
    again = settings(tmp_path, resume=True)
    assert [name for name, _ in run(again)] == ["broken"]
    with pytest.raises(SystemExit, match="keeps was"):
        next(run(settings(tmp_path, resume=True, keeps=[0.3])))


def test_a_network_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    ((_, found),) = run(settings(tmp_path, names=["plain"], limit=0.1))
    assert found["ended"] == "stopped after 0.1 s"
    document = json.loads((tmp_path / "out.json").read_text())
    assert "stopped after 0.1 s" in render(document)


def test_unknown_names_and_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no network 'nope'"):
        next(run(settings(tmp_path, names=["nope"])))
    other = tmp_path / "other.py"
    other.write_text("DEV = []")
    with pytest.raises(SystemExit, match="has no build"):
        networks.load_file(other)


def test_the_command_asks_for_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks.zoo"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and "--networks" in capsys.readouterr().err


def test_the_command_prints_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    heading = {"machine": "an abacus", "torch": "2", "leanline": "1", "torch_pruning": None}
    found = {"cases": [], "ended": "stopped after 1 s"}
    document = {**heading, "keeps": [0.5], "networks": {"slow": found}}
    (tmp_path / "results.json").write_text(json.dumps(document))
    arguments = ["--render", str(tmp_path / "results.json"), "--note", "A test."]
    monkeypatch.setattr(sys, "argv", ["benchmarks.zoo", *arguments])
    main()
    page = capsys.readouterr().out
    assert "A test." in page and "an abacus" in page and "- slow: `stopped after 1 s`" in page


def test_batch_norms_hold_the_statistics_of_the_drawn_batch() -> None:
    model = small_network()
    network = made(model)
    (drawn,) = networks.draw(network.inputs, seed=1, batches=networks.CALIBRATION)
    assert drawn.shape == (16, 2, 12, 10)
    with torch.no_grad():
        features = model[0](drawn)
    norm = model[1]
    torch.testing.assert_close(norm.running_mean, features.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, features.var((0, 2, 3)))
    assert norm.momentum == 0.1 and not norm.training


def test_a_network_that_cannot_be_calibrated_stays_as_it_is() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(0), nn.Linear(12, 1))
    model.eval()
    network = networks.make(lambda name: (model, torch.rand(1, 1, 4, 4)), "")
    assert "batch of 1" in network.calibration  # a batch of eight does not fit the linear layer
    alone = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(1), nn.Flatten(0)).eval()
    fixed = nn.Sequential(alone, nn.Linear(1, 1)).eval()
    network = networks.make(lambda name: (fixed, torch.rand(1, 1, 4, 4)), "")
    assert network.calibration.startswith("as built")
    assert alone[1].running_var == 1 and alone[1].num_batches_tracked == 0


def test_deviation_is_relative_to_the_largest_output() -> None:
    inputs = (torch.rand(1, 1, 4, 4),)

    def wrong(image: Tensor) -> tuple[Tensor, Tensor]:
        other = image.clone()
        other[0, 0, 0, 0] += 0.01 * image.abs().max()
        return image, other

    found = pruned.deviation(lambda image: (image, image), wrong, inputs)
    assert found == pytest.approx(0.01, rel=1e-4)
    assert pruned.deviation(lambda image: image, lambda image: image[:, :, 1:], inputs) == math.inf
    assert pruned.deviation(lambda image: image, lambda image: image / 0, inputs) == math.inf
    assert pruned.deviation(lambda image: 0 * image, lambda image: 0 * image, inputs) == 0


def test_images_are_told_from_classes() -> None:
    model = small_network()
    assert networks.is_image_to_image(made(model))
    assert not networks.is_image_to_image(made(nn.Sequential(model, nn.AvgPool2d(2))))
    assert not networks.is_image_to_image(made(nn.Sequential(model, nn.Flatten())))


def test_parameters_count_where_an_output_depends_on_them() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.idle = nn.Conv2d(2, 3, 3), nn.Conv2d(2, 3, 3)
            self.body.weight.requires_grad_(False)

        def forward(self, image: Tensor) -> Tensor:
            self.idle(image)
            return self.body(self.body(image)[:, :2])

    model = Idle()
    assert networks.parameters(model, (torch.rand(1, 2, 9, 9),)) == 2 * 3 * 9 + 3
    assert not model.body.weight.requires_grad and model.idle.weight.requires_grad


def test_the_layers_that_make_the_outputs_are_found() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head, self.side = small_network(), nn.Conv2d(3, 2, 1), nn.Linear(3, 4)

        def forward(self, image: Tensor) -> dict[str, Tensor]:
            features = self.body(image)
            mixed = self.head(features).relu() + features[:, :2]
            return {"image": mixed, "class": self.side(features.mean((2, 3)))}

    assert list(final_layers(made(Two()))) == ["body.5", "head", "side"]


def test_torch_pruning_comes_to_the_same_multiply_adds() -> None:
    pytest.importorskip("torch_pruning")
    network = made(small_network())
    search = EqualMacs(network)
    assert list(search.ignored) == ["5"]
    widths = range(1, 9)
    possible = {2 * 120 * (2 * w * 9 + w * v + v * 3 * 9) for w in widths for v in widths}
    target = 2 * 120 * (2 * 4 * 9 + 16 + 4 * 3 * 9)
    found = search.find(target)
    assert found["equal"] and found["macs"] == target
    least = search.find(1)
    assert not least["equal"] and least["macs"] == min(possible)
    other = search.prune(found["ratio"])
    assert networks.macs(other, network.inputs) == target
    assert networks.macs(network.model, network.inputs) == 2 * 120 * (16 * 9 + 64 + 24 * 9)


def test_an_export_is_compared_in_onnx_runtime() -> None:
    pytest.importorskip("onnxruntime")
    if not hasattr(ll, "export_onnx"):
        pytest.skip("this version has no export_onnx")
    network = made(small_network())
    found = pruned.export(ll.compact(network.model, network.inputs), network.inputs)
    assert found["deviation"] < pruned.EXPORT
    assert found["deviation_larger"] < pruned.EXPORT
