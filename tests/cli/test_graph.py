"""`leanline graph`: what it says, draws and refuses."""

from xml.etree import ElementTree

import pytest
import torch
from PIL import Image

from leanline.models import MSD, FCNResNet50
from leanline.pruning import load_stage
from leanline.records.run import RunFolder

from .test_bad_input import refused


def test_a_network_by_name(leanline, tmp_path):
    arguments = ("graph", "msd", "--set", "depth=4", "--channels", 2, "--classes", 3, "--size", 32)
    values = leanline(*arguments, "--json").json
    graph = values["graph"]
    assert values["weights"] == "initial values"
    assert graph["shape"] == [1, 2, 32, 32]
    assert (graph["filters"], graph["kept"]) == (2 + 3 + 4 + 5, 14)
    assert (graph["tracer"], graph["frozen"]) == ("torch.export", [])
    assert graph["unprunable"] == ["final.weight"]
    assert [row["filters"] for row in graph["operations"] if row["prunable"]] == [2, 3, 4, 5]
    text = leanline(*arguments).stdout
    assert "msd (initial values), traced by torch.export" in text
    assert "14 prunable filters" in text
    assert "not pruned: final.weight" in text
    assert "convolution 3x3, dilation 4" in text
    assert "of norm 1: 4 concat" in text


def test_small_graphs_are_drawn_by_channel_and_large_ones_by_operation(leanline, tmp_path):
    def words(file):
        return "".join(ElementTree.parse(file).getroot().itertext())

    small, large, picture = (tmp_path / name for name in ("a.svg", "b.svg", "c.png"))
    size = ("--size", "16x24")
    assert leanline("graph", "msd", "--set", "depth=3", *size, "-o", small).code == 0
    assert "operator norm of a filter" in words(small)
    outcome = leanline("graph", "unet4", "--set", "width=4", *size, "-o", large, "--keep", 0.5)
    assert f"drawn: {large}" in outcome.stdout
    assert "kept" in outcome.stdout
    assert "UNet4" not in words(large) and "unet4: operations" in words(large)
    assert "decoder.3.3" in words(large)
    assert leanline("graph", "fcn-resnet50", "--set", "width=1", *size, "-o", picture).code == 0
    with Image.open(picture) as image:
        assert min(image.size) > 500


def test_run_folders_and_the_shipped_network(leanline, dense, lean):
    trained = leanline("graph", dense, "--json").json
    assert (trained["weights"], trained["graph"]["kept"]) == ("trained", 10)
    assert trained["graph"]["shape"] == [1, 1, 16, 16]
    pruned = leanline("graph", lean, "--size", "20x24", "--json").json
    assert pruned["weights"] == "pruned, stage 2"
    assert (pruned["graph"]["filters"], pruned["graph"]["kept"]) == (10, 4)
    network = MSD(4, 1, 2)
    load_stage(RunFolder.read(lean), network)
    kept = [int((conv.weight.abs().sum((2, 3)) > 0).sum()) for conv in network.convs]
    assert [row["kept"] for row in pruned["graph"]["operations"] if row["prunable"]] == kept
    shipped = leanline("graph", "pretrained:msd50-circle-square", "--size", 64, "--json").json
    assert shipped["graph"]["filters"] == 1275


def test_weights_of_torchvision_with_its_second_head(leanline, tmp_path):
    state = FCNResNet50(3, 4, width=1, seed=5).state_dict()
    state["aux_classifier.4.bias"] = torch.zeros(4)
    torch.save(state, tmp_path / "fcn.pth")
    named = ("graph", "fcn-resnet50", "--set", "width=1", "--channels", 3, "--size", 32)
    outcome = leanline(*named, "--classes", 4, "--weights", tmp_path / "fcn.pth", "--json")
    assert outcome.code == 0, outcome.stderr
    assert outcome.json["weights"] == "fcn.pth"
    refused(leanline(*named, "--weights", tmp_path / "fcn.pth"), 1, "of another network")


def test_a_network_of_the_users_own(leanline, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "odd_networks.py").write_text(
        "import torch\n"
        "class Odd(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.a, self.b = torch.nn.Conv2d(3, 2, 3), torch.nn.Conv2d(2, 2, 3)\n"
        "    def forward(self, x):\n"
        "        return self.b(torch.fft.rfft2(self.a(x)).real)\n"
    )
    outcome = leanline("graph", "odd_networks:Odd", "--channels", 3, "--size", 20, "-o", "g.pdf")
    assert outcome.code == 0, outcome.stderr
    assert "channels frozen by" in outcome.stdout
    assert (tmp_path / "g.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("unet5",), 2, "did you mean 'unet4'"),
        (("no/folder",), 1, "there is no folder"),
        (("pretrained:msd",), 2, "no trained network"),
        (("pretrained:msd50-circle-square", "--classes", 3), 2, "--classes does not go with"),
        (("msd", "--out", "graph.jpg"), 2, ".svg, .png, .pdf"),
        (("msd", "--size", "wide"), 2, "HEIGHTxWIDTH"),
        (("msd", "--set", "in_channels=3"), 2, "give --channels 3"),
        (("msd", "--set", "depth=2", "--keep", 0), 2, "keep is 0.0"),
        (("msd", "--set", "depth=2", "--ignore", "nothing"), 2, "nothing"),
        (("msd", "--model", "a:b"), 2, "--model does not go with msd"),
        (("unet4", "--set", "width=1", "--size", 8), 1, "at least 16 pixels"),
    ],
)
def test_what_is_wrong_is_said(leanline, arguments, code, words):
    refused(leanline("graph", *arguments), code, words)


def test_settings_do_not_go_with_folders(leanline, dense):
    refused(leanline("graph", dense, "--channels", 1), 2, "--channels does not go with")
    refused(leanline("graph", dense, "--set", "depth=2"), 2, "--set does not go with")
