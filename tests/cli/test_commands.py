"""The way of a user through the commands, on a folder of their own."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from leanline.compaction import load
from leanline.data import CircleSquare, DynamicCT
from leanline.experiments import demo
from leanline.models import MSD
from leanline.pruning import load_stage
from leanline.records.run import RunFolder
from leanline.runtime import OnnxNetwork

from .conftest import train_arguments


def test_data_are_made_and_checked(leanline, tmp_path):
    out = tmp_path / "cs"
    made = leanline(
        "data", "make", "circle-square", "--out", out, "--train", 2, "--val", 1, "--test", 1,
        "--seed", 5, "--json",
    )  # fmt: skip
    assert made.code == 0, made.stderr
    assert made.json["pictures"] == {"train": 2, "val": 1, "test": 1}
    image, labels = CircleSquare(seed=5).split("train")[1]
    assert np.array_equal(np.asarray(Image.open(out / "train/images/00001.tif")), image[0])
    assert np.array_equal(np.asarray(Image.open(out / "train/labels/00001.png")), labels)
    checked = leanline("data", "check", f"folder:{out}", "--json").json
    assert checked["problems"] == []
    assert checked["found"]["out_channels"] == 5
    assert checked["found"]["input_shape"] == [1, 1, 256, 256]
    again = leanline("data", "make", "circle-square", "--out", out)
    assert again.code == 1
    assert "not an empty folder" in again.stderr


def test_dynamic_ct_is_made_at_any_size(leanline, tmp_path):
    out = tmp_path / "ct"
    counts = ("--train", 2, "--val", 1, "--test", 1)
    settings = ("--set-data", "size=64", "--set-data", "frames=2")
    made = leanline("data", "make", "dynamic-ct", "-o", out, *counts, *settings, "--json")
    assert made.code == 0, made.stderr
    assert made.json["pictures"] == {"train": 4, "val": 2, "test": 2}
    split = DynamicCT(train=2, frames=2, size=64).split("train")
    for index in range(4):
        image = np.asarray(Image.open(out / f"train/images/{index:05d}.tif"))
        assert np.array_equal(image, split[index][0][0])
        labels = np.asarray(Image.open(out / f"train/labels/{index:05d}.png"))
        assert np.array_equal(labels, split[index][1])
    found = leanline("data", "check", f"folder:{out}", "--set-data", "crop=32,48", "--json").json
    assert found["problems"] == [] and found["found"]["input_shape"] == [1, 1, 64, 64]
    found = leanline("data", "check", "dynamic-ct", *settings, "--set-data", "val=1", "--json").json
    assert found["found"]["out_channels"] == 2
    large = leanline("data", "check", f"folder:{out}", "--set-data", "crop=65")
    assert large.code == 2 and "larger than the pictures" in large.stderr
    twice = leanline("data", "make", "dynamic-ct", "-o", tmp_path / "x", "--set-data", "seed=1")
    assert twice.code == 2 and "give --seed instead" in twice.stderr


def test_camvid_is_checked(leanline, tmp_path):
    for split in ("train", "val", "test"):
        for part, pixels in (("images", (8, 12, 3)), ("labels", (8, 12))):
            (tmp_path / split / part).mkdir(parents=True)
            values = np.arange(np.prod(pixels)).reshape(pixels) % 12
            Image.fromarray(values.astype(np.uint8)).save(tmp_path / split / part / "a.png")
    name = f"camvid:{tmp_path}"
    found = leanline("data", "check", name, "--set-data", "reduce=2", "--json").json
    assert found["problems"] == [] and found["found"]["out_channels"] == 11
    assert found["found"]["input_shape"] == [1, 3, 4, 6]
    Image.fromarray(np.full((8, 12), 12, np.uint8)).save(tmp_path / "val/labels/a.png")
    wrong = leanline("data", "check", name, "--json")
    assert wrong.code == 1
    assert "has the label 12 in 96 pixels; with 11 classes" in wrong.json["problems"][0]


def test_training_notes_what_it_did(leanline, dense, pictures):
    run = RunFolder.read(dense)
    assert run.config["model"] == {
        "name": "msd",
        "settings": {
            "depth": 4, "width": 1, "in_channels": 1, "out_channels": 2, "dilations": None,
            "padding_mode": "zeros", "seed": 0,
        },
    }  # fmt: skip
    assert run.config["data"]["name"] == f"folder:{pictures}"
    assert run.config["data"]["pictures"] == {"train": 6, "val": 2, "test": 2}
    assert run.config["input_shape"] == [1, 1, 16, 16]
    assert [row["step"] for row in run.stages] == [3, 6]
    assert "command: leanline" in run.log.read_text()
    before = (dense / "evidence.json").read_bytes()
    again = leanline(*train_arguments(pictures), "--out", dense, "--json")  # reads, trains not
    assert again.code == 0
    assert again.json["best"]["step"] in (3, 6)
    assert set(again.json["test"]) == {"loss", "accuracy", "f1", "miou"}
    assert (dense / "evidence.json").read_bytes() == before
    shown = leanline(*train_arguments(pictures), "--out", dense)
    assert f"next: leanline prune {dense}" in shown.stdout


def test_pruning_starts_from_the_best_weights(leanline, dense, lean):
    run, source = RunFolder.read(lean), RunFolder.read(dense)
    best = [row for row in source.stages if row["best"]][-1]
    assert run.config["source"] == {
        "from": "train", "folder": "dense", "sha256": best[f"sha256.best-{best['step']}"],
    }  # fmt: skip
    assert run.config["finetune"]["training"]["batch_size"] == 2  # as it was trained
    assert [row["kept_filters"] for row in run.stages] == [6, 4]  # of 10
    arguments = ("prune", dense, "--keep", 0.4, "--steps", 2, "--iterations", 3, "--out", lean)
    values = leanline(*arguments, "--json").json
    assert [stage["kept_filters"] for stage in values["stages"]] == [6, 4]
    assert values["network"]["filters"] == [10, 4]
    assert values["deviation"] < 1e-5
    other = leanline(*arguments, "--no-resume")
    assert other.code == 1
    assert "already holds 2 stages" in other.stderr


def test_the_compact_network_is_the_pruned_one(leanline, lean, tmp_path):
    file = tmp_path / "net.safetensors"
    whole = ("compact", lean, "--out", file, "--seconds", 0, "--onnx", tmp_path / "net.onnx")
    outcome = leanline(*whole, "--json")
    assert outcome.code == 0, outcome.stderr
    assert outcome.json["summary"]["filters"] == {"before": 10, "after": 4}
    assert outcome.json["bytes"] == file.stat().st_size
    small, pruned = load(lambda: MSD(4, 1, 2), file), MSD(4, 1, 2)
    load_stage(RunFolder.read(lean), pruned)
    images = torch.randn(2, 1, 20, 24, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(small(images), pruned(images), atol=1e-5, rtol=1e-5)
    exported = OnnxNetwork(outcome.json["onnx"]["path"])
    torch.testing.assert_close(exported(images), pruned(images), atol=1e-4, rtol=1e-4)
    assert outcome.json["onnx"]["free"] == ["batch", "height", "width"]
    sizes = outcome.json["summary"]["compact"]
    assert sizes["bytes"]["after"] == outcome.json["bytes"]
    assert sizes["parameters"]["after"] == outcome.json["parameters"]
    assert [row["name"] for row in outcome.json["summary"]["timing"]["rows"]] == [
        "before", "compact", "kernels",
    ]  # fmt: skip
    shown = leanline(*whole).stdout
    assert "leanline.models.make('msd', depth=4" in shown
    assert "ms kernels" in shown and "ONNX Runtime deviates by" in shown
    wrong = leanline("compact", lean, "-o", file, "--onnx", tmp_path / "net.pt")
    assert wrong.code == 2 and "ends in .onnx" in wrong.stderr


def test_timing_of_a_tuned_plan(leanline, lean):
    arguments = ("bench", lean, "--seconds", 0, "--size", "24x20", "--no-onnx", "--tune", 1)
    names = [row["name"] for row in leanline(*arguments, "--json").json["timing"]["rows"]]
    assert names[-2:] == ["leanline kernel, pruned", "leanline kernel, pruned, tuned"]


def test_timing(leanline, lean):
    threads = torch.get_num_threads()
    arguments = ("bench", lean, "--seconds", 0, "--size", "24x20", "--batch", 2)
    timing = leanline(*arguments, "--json").json["timing"]
    assert [row["name"] for row in timing["rows"]] == [
        "PyTorch eager, dense",
        "leanline kernel, dense",
        "ONNX Runtime, dense",
        "PyTorch eager, compacted",
        "ONNX Runtime, compacted",
        "leanline kernel, pruned",
    ]
    assert timing["shape"] == [2, 1, 24, 20]
    assert timing["threads"] == 1
    assert timing["rows"][0]["speedup"] == 1
    shown = leanline(*arguments, "--no-onnx").stdout
    assert "leanline kernel, pruned" in shown and "ONNX" not in shown
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("run", ["dense", "lean"])
def test_the_report(leanline, run, request):
    pytest.importorskip("leanline.report")
    folder: Path = request.getfixturevalue(run)
    page = Path(leanline("report", folder, "--json").json["report"])
    assert page.read_text().lower().startswith("<!doctype html>")


def test_a_shipped_network_and_one_of_the_users_own(leanline, tmp_path, monkeypatch, dense):
    few = ["--set-data", "train=1", "--set-data", "val=1", "--set-data", "test=1"]
    outcome = leanline(
        "prune", "pretrained:msd50-circle-square", "--keep", 0.05, "--steps", 1, *few,
        "--iterations", 0, "--out", tmp_path / "shipped", "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    assert outcome.json["network"]["filters"] == [1275, 64]
    assert (
        leanline(
            "compact", tmp_path / "shipped", "-o", tmp_path / "n.safetensors", "--seconds", 0
        ).code
        == 0
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my_networks.py").write_text(
        "import torch\n"
        "def small(width: int = 4):\n"
        "    print('a print of the user')\n"
        "    return torch.nn.Sequential(\n"
        "        torch.nn.Conv2d(1, width, 3, padding=1), torch.nn.ReLU(),\n"
        "        torch.nn.Conv2d(width, 2, 3, padding=1))\n"
    )
    data = RunFolder.read(dense).config["data"]["name"]
    own = leanline(
        "prune", "--model", "my_networks:small", "--set", "width=3", "--data", data, "--keep", 0.5,
        "--steps", 1, "--iterations", 1, "--out", "own", "--json",
    )  # fmt: skip
    assert own.code == 0, own.stderr
    assert own.json["network"]["filters"][0] == 9
    assert "a print of the user" in own.stderr  # standard output is the JSON alone
    shown = leanline(
        "prune", "--model", "my_networks:small", "--set", "width=3", "--data", data, "--keep", 0.5,
        "--steps", 1, "--iterations", 1, "--out", "own",
    )  # fmt: skip
    assert "compact own --out net.safetensors --model my_networks:small" in shown.stdout
    # a folder alone runs no code
    refused = leanline("bench", "own", "--seconds", 0)
    assert refused.code == 2
    assert "add --model my_networks:small" in refused.stderr
    allowed = leanline("bench", "own", "--seconds", 0, "--no-onnx", "--model", "my_networks:small")
    assert allowed.code == 0, allowed.stderr


def test_weights_from_files(leanline, pictures, tmp_path):
    model = MSD(3, 1, 2, seed=4)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "net.pth")
    common = ("--model", "msd", "--set", "depth=3", "--data", f"folder:{pictures}", "--steps", 1)
    out = tmp_path / "pth"
    arguments = ("prune", *common, "--iterations", 0, "--keep", 1, "--out", out, "--json")
    outcome = leanline(*arguments, "--weights", tmp_path / "net.pth")
    assert outcome.code == 0, outcome.stderr
    pruned = MSD(3, 1, 2)
    load_stage(RunFolder.read(out), pruned)
    assert torch.equal(pruned.convs[2].weight, model.convs[2].weight)
    assert json.loads((out / "config.json").read_text())["config"]["source"]["file"] == "net.pth"


def test_an_unfinished_run_is_used_with_a_warning(leanline, lean, tmp_path):
    copy = shutil.copytree(lean, tmp_path / "lean")
    header = json.loads((copy / "config.json").read_text())
    header["config"]["schedule"]["steps"] = 5
    (copy / "config.json").write_text(json.dumps(header))
    outcome = leanline("compact", copy, "-o", tmp_path / "n.safetensors")
    assert outcome.code == 0
    assert "not finished (2 of 5 steps)" in " ".join(outcome.stderr.split())


def test_the_demonstration_is_given_its_settings(leanline, lean, tmp_path, monkeypatch):
    calls = []

    def run_demo(config, out, resume, command):
        calls.append((config, out, resume))
        with RunFolder.open(out, {"command": "demo"}):
            shutil.copytree(lean, out / "lean")

    monkeypatch.setattr(demo, "run_demo", run_demo)
    out = tmp_path / "demo"
    settings = ("--keep", 0.2, "--steps", 3, "--iterations", 7, "--seed", 2, "--threads", 1)
    outcome = leanline("demo", "--out", out, *settings, "--no-resume", "--json")
    assert outcome.code == 0, outcome.stderr
    config = demo.DemoConfig(keep=0.2, steps=3, iterations=7, seed=2, threads=1)
    assert calls == [(config, out, False)]
    assert Path(outcome.json["report"]).is_file()
    hint = leanline("compact", out, "-o", tmp_path / "n.safetensors")
    assert "it holds the runs lean" in " ".join(hint.stderr.split())
    assert leanline("demo", "--out", tmp_path / "x", "--keep", 0).code == 2
