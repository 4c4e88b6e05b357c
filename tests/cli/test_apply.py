"""`leanline apply`: which network, which scale, which output; kills, memory, several volumes."""

import hashlib
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
import zarr
from PIL import Image

import leanline as ll
from leanline.data import ImageFolder
from leanline.inference import ApplyConfig, apply
from leanline.records.run import RunFolder

from .conftest import call

QUICK = ("--threads", 1, "--backend", "reference", "--json")
SHIPPED = "pretrained:msd50-circle-square"


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """A folder, a stack and a Zarr volume of the same slices, as the training pictures are."""
    folder = tmp_path_factory.mktemp("scans")
    values = np.random.default_rng(0).normal(120, 40, (6, 20, 24)).clip(0, 255).astype(np.uint8)
    (folder / "pictures").mkdir()
    for index, one in enumerate(values):
        Image.fromarray(one).save(folder / "pictures" / f"s{index}.png")
    tifffile.imwrite(folder / "a.tif", values, photometric="minisblack")
    tifffile.imwrite(folder / "b.tif", values[::-1], photometric="minisblack")
    zarr.create_array(folder / "v.zarr", data=values, chunks=(4, 20, 24))
    return folder


@pytest.fixture(scope="module")
def wanted(scans, dense, pictures):
    """Labels by the network of `dense`, called by hand on what a training set would give it."""
    from leanline.cli.folders import read_run, trained_of

    network = trained_of(read_run(dense, "train"), None)[1].eval()
    scale = ImageFolder(pictures).normalisation
    values = torch.from_numpy(tifffile.imread(scans / "a.tif")).float()
    with torch.no_grad():
        return network(scale.apply(values)[:, None]).argmax(1).numpy()


def test_run_folder_scales_as_in_training(scans, dense, wanted, pictures, tmp_path):
    out = call("apply", dense, scans / "a.tif", tmp_path / "out.tif", *QUICK)
    assert out.code == 0, out.stderr
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out.tif"), wanted)
    scale = ImageFolder(pictures).normalisation
    assert out.json["how"]["scale"] == pytest.approx([scale.mean, scale.std])
    assert out.json["how"]["output"] == "labels"
    assert (out.json["command"], out.json["slices"], out.json["computed"]) == ("apply", 6, 6)
    assert 0 < out.json["network_share"] <= 1
    again = call("apply", dense, scans / "a.tif", tmp_path / "out.tif", *QUICK[:-1])
    assert "finished before" in again.stdout


def test_scale_without_evidence_is_read_from_the_data(scans, dense, wanted, tmp_path):
    import shutil

    shutil.copytree(dense, tmp_path / "run")
    (tmp_path / "run" / "evidence.json").unlink()
    out = call("apply", tmp_path / "run", scans / "a.tif", tmp_path / "out.tif", *QUICK)
    assert out.code == 0, out.stderr
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out.tif"), wanted)


def test_pruned_folder_and_compact_file_agree(scans, lean, pictures, tmp_path):
    out = call("apply", lean, scans / "v.zarr", tmp_path / "a.zarr", *QUICK)
    assert out.code == 0, out.stderr
    assert call("compact", lean, "--out", tmp_path / "net.safetensors").code == 0
    for name, more in {
        "b": ("--model", lean),
        "c": ("--model", "msd", "--set", "depth=4", "--classes", 2, "--data", f"folder:{pictures}"),
    }.items():
        more = (
            ("--model", "msd", "--classes", 2, *settings_of(lean), *more[6:])
            if name == "c"
            else more
        )
        file = tmp_path / f"{name}.zarr"
        out = call("apply", tmp_path / "net.safetensors", scans / "v.zarr", file, *more, *QUICK)
        assert out.code == 0, out.stderr
        same = (
            zarr.open_array(file, mode="r")[:] == zarr.open_array(tmp_path / "a.zarr", mode="r")[:]
        )
        assert same.mean() > 0.999


def settings_of(run):
    settings = json.loads((run / "config.json").read_text())["config"]["model"]["settings"]
    kept = {k: v for k, v in settings.items() if k not in ("in_channels", "out_channels", "seed")}
    pairs = [f"{k}={v}" for k, v in kept.items() if v is not None]
    return [word for pair in pairs for word in ("--set", pair)]


def test_shipped_network_on_folder(scans, tmp_path):
    out = call("apply", SHIPPED, scans / "pictures", tmp_path / "out", "--scale", "120,40", *QUICK)
    assert out.code == 0, out.stderr
    with Image.open(tmp_path / "out" / "s3.png") as labels:
        assert np.asarray(labels).max() <= 4
    record = json.loads((tmp_path / "out" / "leanline.json").read_text())
    assert record["wanted"]["scale"] == [120, 40]


def test_several_volumes(scans, dense, wanted, tmp_path):
    out = call("apply", dense, scans / "*.tif", tmp_path / "out", *QUICK)
    assert out.code == 0, out.stderr
    assert [row["slices"] for row in out.json["volumes"]] == [6, 6]
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out" / "a.tif"), wanted)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out" / "b.tif"), wanted[::-1])


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("runs/none", "a.tif", "out.tif"), 1, "no folder"),
        (("{dense}", "none.tif", "out.tif"), 1, "there is no"),
        (("{dense}", "a.tif", "a.tif"), 2, "is the input"),
        (("{dense}", "a.tif", "out"), 2, "give .*out.tif"),
        (("{dense}", "a.tif", "out.tif", "--scale", "x"), 2, "--scale x: write none"),
        (("{dense}", "a.tif", "out.tif", "--scale", "1,0"), 2, "above 0"),
        (("{dense}", "a.tif", "out.tif", "--classes", 2), 2, "--classes does not go"),
        (("{dense}", "a.tif", "no/out.tif"), 1, "no folder"),
        (("net.safetensors", "a.tif", "out.tif"), 1, "there is no file"),
        ((SHIPPED, "a.tif", "out.tif", "--workers", 1, "--scheduler", "x"), 2, "one of them"),
    ],
)
def test_bad_usage(arguments, code, said, scans, dense, tmp_path):
    import re

    names = {"a.tif": scans / "a.tif", "{dense}": dense}
    given = [
        names.get(one, tmp_path / one if str(one)[:3] in ("out", "no/", "non", "net") else one)
        for one in arguments
    ]
    out = call("apply", *given, *QUICK)
    assert out.code == code, out.stderr
    assert re.search(said, out.stderr)
    assert not [p for p in tmp_path.iterdir() if "partial" in p.name]


def test_file_of_weights_asks_how_pictures_were_scaled(scans, tmp_path):
    net = ll.models.MSD(2, 1, 2)
    torch.save(net.state_dict(), tmp_path / "w.pth")
    arguments = ("apply", tmp_path / "w.pth", scans / "a.tif", tmp_path / "out.tif")
    model = ("--model", "msd", "--set", "depth=2", "--classes", 2)
    out = call(*arguments, *QUICK)
    assert out.code == 2 and "--model" in out.stderr
    out = call(*arguments, *model, *QUICK)
    assert out.code == 2 and "--scale" in out.stderr
    out = call(*arguments, *model, "--scale", "0,255", *QUICK)
    assert out.code == 0, out.stderr
    values = torch.from_numpy(tifffile.imread(scans / "a.tif")).float()[:, None] / 255
    with torch.no_grad():
        want = net.eval()(values).argmax(1).numpy()
    assert (tifffile.imread(tmp_path / "out.tif") == want).mean() > 0.999


def test_file_of_a_network_of_ones_own(scans, tmp_path, monkeypatch):
    (tmp_path / "nets_of_apply.py").write_text(
        "import torch\n"
        "def make(out_channels: int = 3, bias=True):\n"
        "    return torch.nn.Conv2d(1, out_channels, 3, padding=1, bias=bias)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    name = "nets_of_apply:make"
    settings = {"in_channels": 1, "out_channels": 3, "bias": "False"}
    with RunFolder.open(
        tmp_path / "run", {"command": "train", "model": {"name": name, "settings": settings}}
    ):
        pass
    torch.save(torch.nn.Conv2d(1, 3, 3, bias=False).state_dict(), tmp_path / "w.pth")
    start = ("apply", tmp_path / "w.pth", scans / "a.tif", tmp_path / "out.tif", *QUICK)
    out = call(*start, "--scale", "none", "--model", tmp_path / "run")
    assert out.code == 2
    for words in (f"--model {name} ", "--channels 1", "--classes 3", "--set bias=False"):
        assert words in " ".join(out.stderr.split())
    # the classes are those of the factory where nothing is said
    out = call(*start, "--scale", "none", "--model", name, "--set", "bias=False")
    assert out.code == 0, out.stderr
    assert out.json["how"]["output"] == "labels"


# -- processes of their own

CHILD = """
import sys, torch
torch.set_num_threads(1)
from leanline.inference import ApplyConfig, apply
from leanline.models import MSD
config = ApplyConfig(backend="reference", threads=1, commit=0.01, output="labels")
print("ready", flush=True)
apply(MSD(1, 1, 2, seed=1).eval(), sys.argv[1], sys.argv[2], config)
"""


def here(source, out):
    """What CHILD does, in this process."""
    config = ApplyConfig(backend="reference", threads=1, commit=0.01, output="labels")
    return apply(ll.models.MSD(1, 1, 2, seed=1).eval(), source, out, config)


def digest(path):
    files = sorted(p for p in Path(path).rglob("*") if p.is_file()) or [Path(path)]
    found = hashlib.sha256()
    for file in files:
        found.update(str(file.relative_to(path)).encode() + file.read_bytes())
    return found.hexdigest()


def stopped(source, out, journal, lines, by):
    """Run CHILD until the journal has some more lines, then send a signal; its exit code."""

    def length():
        return len(journal.read_bytes().splitlines()) if journal.exists() else 0

    before = length()
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, source, out], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        while length() < before + lines and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(by)
        process.communicate()
        return process.returncode


@pytest.mark.parametrize("suffix", [".tif", ".zarr", "/"])
def test_killed_at_random_moments(suffix, tmp_path):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 255, (600, 64, 64), dtype=np.uint8)
    source, out = tmp_path / "in.tif", f"{tmp_path}/out{suffix}"
    tifffile.imwrite(source, values, photometric="minisblack")
    here(source, f"{tmp_path}/straight{suffix}")
    journal = tmp_path / f"out{suffix.rstrip('/')}.partial.jsonl"
    moments = random.Random(suffix)
    for by in (signal.SIGKILL, signal.SIGKILL if suffix == ".tif" else signal.SIGINT):
        assert stopped(source, out, journal, moments.randint(1, 4), by) != 0
    applied = here(source, out)
    assert 0 < applied.found < 600
    assert digest(tmp_path / f"out{suffix}") == digest(tmp_path / f"straight{suffix}")
    assert not [p for p in tmp_path.rglob("*") if "partial" in p.name or ".part-" in p.name]


MEMORY = """
import resource, sys, torch
torch.set_num_threads(1)
from leanline.inference import ApplyConfig, apply
config = ApplyConfig(backend="reference", threads=1, output="picture")
network = torch.nn.Conv2d(1, 1, 3, padding=1).eval()
used = []
for name in ("small", "large"):
    apply(network, f"{sys.argv[1]}/{name}.{sys.argv[2]}", f"{sys.argv[1]}/out-{name}.zarr", config)
    used.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(used[1] - used[0])
"""


@pytest.mark.parametrize("suffix", ["tif", "zarr"])
def test_memory_does_not_grow_with_the_volume(suffix, tmp_path):
    """The large volume has 160 MB; 40 MB more than for a small one are allowed."""
    for name, slices in (("small", 16), ("large", 320)):
        shape = (slices, 512, 512)
        if suffix == "tif":
            made = tifffile.memmap(
                tmp_path / f"{name}.tif", shape=shape, dtype="uint16", photometric="minisblack"
            )
        else:
            made = zarr.create_array(
                tmp_path / f"{name}.zarr", shape=shape, chunks=(16, 512, 512), dtype="uint16"
            )
        for start in range(0, slices, 16):
            made[start : start + 16] = start
        if suffix == "tif":
            made.flush()
            del made
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, tmp_path, suffix],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 40_000  # kB
