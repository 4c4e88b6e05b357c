"""What is wrong is said in one line, with an exit code and without a traceback."""

import resource
import shutil
import signal

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from leanline.models import MSD

from .conftest import train_arguments, write_folder, write_pictures


def refused(outcome, code, *words):
    """The outcome is an error with that exit code, which says those words."""
    assert outcome.code == code, (outcome.code, outcome.stderr)
    assert outcome.stdout == ""
    assert "Traceback" not in outcome.stderr
    text = " ".join(outcome.stderr.replace("│", " ").split())
    assert "error" in text.lower()
    for word in words:
        assert word in text, text


def test_unknown_names(leanline, pictures, dense, tmp_path):
    data, out = f"folder:{pictures}", tmp_path / "x"
    refused(leanline("train", "mds", "--data", data, "-o", out), 2, "'mds'", "did you mean 'msd'")
    refused(leanline("train", "msd", "--data", "circle", "-o", out), 2, "'circle'", "circle-square")
    refused(leanline("train", "no.such:net", "--data", data, "-o", out), 2, "cannot import")
    refused(leanline("prune", "pretrained:msd", "-o", out), 2, "no trained network 'msd'")
    refused(leanline("data", "make", "squares", "-o", out), 2, "'squares'", "circle-square")
    refused(leanline("data", "check", "folder"), 2, "folder:DIR")
    refused(leanline("prune", dense, "--criterion", "best", "-o", out), 2, "operator-norm")
    refused(leanline("prune", dense, "--ignore", "nothing", "-o", out), 2, "nothing")
    assert not (out / "config.json").exists()


def test_wrong_settings(leanline, pictures, dense, tmp_path):
    start = ["train", "msd", "--data", f"folder:{pictures}", "-o", tmp_path / "x"]
    refused(leanline(*start, "--set", "dept=3"), 2, "did you mean 'depth'")
    refused(leanline(*start, "--set", "depth=many"), 2, "a whole number")
    refused(leanline(*start, "--set", "depth"), 2, "--set NAME=VALUE")
    refused(leanline(*start, "--set", "depth=1", "--set", "depth=2"), 2, "given twice")
    refused(leanline(*start, "--set", "depth=0"), 2, "at least 1")
    refused(leanline(*start, "--lr", -1), 2, "lr=-1.0")
    refused(leanline(*start, "--iterations", 0), 2, "--iterations")
    refused(leanline(*start, "--threads", 0), 2, "--threads")
    refused(leanline(*start, "--accelerator", "abacus"), 2, "abacus")
    refused(leanline(*start, "--set", "out_channels=7"), 1, "2 classes")
    refused(leanline(*start, "--set", "in_channels=3"), 1, "pictures of 1 x 16 x 16")
    few = ["--data", "circle-square", "--set-data", "val=0"]
    refused(leanline("train", "msd", *few, "-o", tmp_path / "x"), 2, "no pictures in split 'val'")


@pytest.mark.parametrize(
    "option, value, word",
    [
        ("--keep", 0, "above 0"),
        ("--keep", 1.5, "at most 1"),
        ("--keep", -0.1, "above 0"),
        ("--keep", "nan", "above 0"),
        ("--keep", "few", "--keep"),
        ("--steps", 0, "at least 1"),
        ("--batch-size", 0, "--batch-size"),
    ],
)
def test_wrong_amounts(leanline, dense, tmp_path, option, value, word):
    outcome = leanline("prune", dense, option, value, "--out", tmp_path / "x")
    refused(outcome, 2, word)
    assert not (tmp_path / "x").exists()


def test_what_is_pruned_must_be_clear(leanline, dense, pictures, tmp_path):
    out = ("--out", tmp_path / "x")
    refused(leanline("prune", *out), 2, "say what to prune")
    refused(leanline("prune", "--model", "msd", *out), 2, "needs --data")
    data = ("--data", f"folder:{pictures}")
    refused(leanline("prune", "--model", "msd", *data, *out), 2, "needs --weights")
    refused(leanline("prune", dense, "--set", "depth=3", *out), 2, "own weights")
    refused(leanline("prune", dense, "--model", "other", *out), 2, "is of model msd")
    refused(leanline("prune", dense, "--set-data", "classes=2", *out), 2, "goes with --data")


def test_bad_folders_of_pictures(leanline, tmp_path):
    def trained(folder):
        return leanline("train", "msd", "--data", f"folder:{folder}", "-o", tmp_path / "run")

    def checked(folder, *words):
        outcome = leanline("data", "check", f"folder:{folder}")
        assert outcome.code == 1
        assert "problem(s)" in outcome.stderr
        for word in words:
            assert word in outcome.stdout

    refused(trained(tmp_path / "nowhere"), 1, "no data folder")
    without = write_folder(tmp_path / "without")
    for split in ("train", "val", "test"):
        shutil.rmtree(without / split / "labels")
    refused(trained(without), 1, "has no folder 'labels'", "for segmentation")
    checked(without, "has no folder 'labels'")

    mixed = write_folder(tmp_path / "mixed")
    write_pictures(tmp_path / "large", 1, 0, size=20)
    for kind in ("images", "labels"):
        (tmp_path / "large" / kind / "0.png").rename(mixed / "train" / kind / "z.png")
    refused(trained(mixed), 1, "mixed sizes", "16 x 16", "20 x 20")
    checked(mixed, "mixed sizes")

    wide = write_folder(tmp_path / "wide")
    labels = np.full((16, 16), 255, np.uint8)
    Image.fromarray(labels).save(wide / "train" / "labels" / "2.png")
    checked(wide, "the label 255", "256 classes")
    more = ("--set-data", "classes=2", "--iterations", 5, "--set", "depth=2")
    outcome = leanline("train", "msd", "--data", f"folder:{wide}", *more, "-o", tmp_path / "wide1")
    refused(outcome, 1, "2.png has the label 255", "0 to 1")
    listed = leanline("data", "check", f"folder:{wide}", "--set-data", "classes=2", "--json")
    assert listed.code == 1
    assert len(listed.json["problems"]) == 1

    cut = write_folder(tmp_path / "cut")
    file = cut / "val" / "images" / "1.png"
    file.write_bytes(file.read_bytes()[:100])
    checked(cut, "1.png")


def test_weights_that_do_not_fit(leanline, pictures, tmp_path):
    def pruned(file):
        start = ("prune", "--model", "msd", "--set", "depth=3", "--data", f"folder:{pictures}")
        return leanline(*start, "--weights", file, "--out", tmp_path / "x")

    torch.save(MSD(4, 1, 2).state_dict(), tmp_path / "deeper.pth")
    refused(pruned(tmp_path / "deeper.pth"), 1, "of another network", "convs.3.weight")
    save_file(MSD(3, 1, 5).state_dict(), tmp_path / "classes.safetensors")
    refused(pruned(tmp_path / "classes.safetensors"), 1, "final.bias is 5 in the file and 2")
    for name in ("deeper.pth", "classes.safetensors"):
        content = (tmp_path / name).read_bytes()
        for length in (0, 20, len(content) // 2, len(content) - 10):
            cut = tmp_path / f"cut-{name}"
            cut.write_bytes(content[:length])
            refused(pruned(cut), 1, "truncated")
    torch.save(MSD(3, 1, 2), tmp_path / "whole.pth")  # a pickled module could run code
    refused(pruned(tmp_path / "whole.pth"), 1, "could run code")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    refused(pruned(tmp_path / "empty.pth"), 1, "no state dict")
    refused(pruned(tmp_path / "none.pth"), 1, "No such file")
    refused(pruned(tmp_path / "net.onnx"), 2, "--weights")


def test_damaged_runs(leanline, dense, lean, tmp_path):
    copy = shutil.copytree(lean, tmp_path / "lean")
    (file,) = (copy / "checkpoints").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-30])
    refused(leanline("compact", copy, "-o", tmp_path / "n.safetensors"), 1, "truncated")
    refused(leanline("bench", copy), 1, "truncated")
    source = shutil.copytree(dense, tmp_path / "dense")
    for file in (source / "checkpoints").iterdir():
        file.write_bytes(file.read_bytes()[:-30])
    refused(leanline("prune", source, "-o", tmp_path / "x"), 1, "truncated")
    file.unlink()
    assert not (tmp_path / "x").exists()


def test_folders_of_another_kind(leanline, dense, lean, pictures, tmp_path):
    out = ("-o", tmp_path / "n.safetensors")
    refused(leanline("compact", tmp_path / "nowhere", *out), 1, "no folder")
    refused(leanline("compact", pictures, *out), 1, "no run folder")
    refused(leanline("compact", dense, *out), 1, "made by leanline train, not by leanline prune")
    refused(leanline("prune", lean, "-o", tmp_path / "x"), 1, "made by leanline prune")
    refused(leanline("compact", dense.parent, *out), 1, "no run folder")
    refused(leanline("compact", lean, "-o", tmp_path / "net.onnx"), 2, "ends in .safetensors")
    refused(leanline("compact", lean, "-o", tmp_path / "no" / "n.safetensors"), 2, "no folder")
    refused(leanline("bench", lean, "--size", "big"), 2, "HEIGHTxWIDTH")
    refused(leanline("bench", lean, "--tune", "slow"), 2, "tune='slow'", "quick", "thorough")


def test_a_folder_that_belongs_to_another_run(leanline, dense, lean, pictures, tmp_path):
    other = leanline("prune", dense, "--keep", 0.5, "--steps", 2, "--iterations", 3, "-o", lean)
    refused(other, 1, "another configuration", "schedule.keep was 0.4, now 0.5")
    other = leanline(*train_arguments(pictures), "--lr", 0.01, "-o", dense)
    refused(other, 1, "another configuration", "training.lr was 0.001, now 0.01")
    other = leanline("prune", dense, "--keep", 0.5, "-o", dense)
    refused(other, 1, "another configuration", 'command was "train"')
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    refused(leanline("prune", dense, "-o", tmp_path / "photos"), 1, "holds no run (it has a.jpg)")
    refused(leanline("prune", dense, "-o", tmp_path / "photos" / "a.jpg"), 1, "is a file")
    inside = tmp_path / "photos" / "a.jpg" / "run"
    refused(leanline("prune", dense, "-o", inside), 1, "a.jpg", "Not a directory")
    assert [file.name for file in (tmp_path / "photos").iterdir()] == ["a.jpg"]


@pytest.fixture
def full_disk():
    """No file may grow beyond 2 kB; the system refuses as it does on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk(leanline, dense, lean, pictures, tmp_path, full_disk):
    outcome = leanline(*train_arguments(pictures), "-o", tmp_path / "train")
    refused(outcome, 1, "cannot write", "File too large", "MB are free")
    outcome = leanline("prune", dense, "--steps", 1, "--iterations", 1, "-o", tmp_path / "prune")
    refused(outcome, 1, "cannot write", "File too large")
    outcome = leanline("data", "make", "circle-square", "-o", tmp_path / "cs", "--train", 1)
    refused(outcome, 1, "cannot write", "00000.tif")
