"""A command that is killed at random moments and called again ends as one that was not killed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from leanline.records.run import RunFolder

from .conftest import train_arguments

KILLS = 10


def content(folder):
    """Rows without seconds, tensors of the checkpoints, test metrics, and what the report shows."""
    run = RunFolder.read(folder)
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in run.stages]
    names = sorted(file.stem for file in run.checkpoints.iterdir())
    evidence = json.loads((folder / "evidence.json").read_text())
    measured = {k: evidence.get(k) for k in ("dense", "pruned", "trained", "network")}
    return rows, {name: run.load_tensors(name)[0] for name in names}, measured


@pytest.mark.parametrize("name", ["train", "prune"])
def test_killed_at_random_moments(name, dense, pictures, tmp_path):
    arguments = [*train_arguments(pictures), "--iterations", 30]
    if name == "prune":
        arguments = ["prune", dense, "--keep", 0.3, "--steps", 4, "--iterations", 4]
    script = Path(__file__).with_name("kill_at_random.py")
    call = [sys.executable, script, tmp_path, KILLS, *arguments, "--json", "--threads", 1]
    done = subprocess.run([str(a) for a in call], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    folders = int(done.stdout.splitlines()[-1])
    rows, tensors, measured = content(tmp_path / "straight")
    for number in range(folders):
        killed = tmp_path / f"killed-{number}"
        again, kept, found = content(killed)
        assert again == rows, done.stderr  # with the checksums of all checkpoints
        assert found == measured
        assert kept.keys() == tensors.keys()
        for checkpoint, values in tensors.items():
            assert values.keys() == kept[checkpoint].keys()
            assert all(torch.equal(values[key], kept[checkpoint][key]) for key in values)
        assert not list(killed.rglob(".part-*"))
