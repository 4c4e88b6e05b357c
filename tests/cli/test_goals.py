"""Pruning to a goal and by other rules from the command line, for both tasks."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from leanline.cli.goals import AskedGoal
from leanline.compaction import load
from leanline.errors import ConfigError
from leanline.models import MSD
from leanline.pruning import AtFilters, AtMetricDrop, AtSpeedup, Goal, Schedule, load_stage
from leanline.records.run import RunFolder


@pytest.fixture(scope="module")
def denoising(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 16-bit noisy and clean pictures."""
    folder = tmp_path_factory.mktemp("data") / "noisy"
    rng = np.random.default_rng(0)
    for split, count in {"train": 4, "val": 2, "test": 2}.items():
        for kind in ("images", "clean"):
            (folder / split / kind).mkdir(parents=True)
        for index in range(count):
            clean = np.full((16, 16), 20000.0)
            clean[:, 4 + index :] = 40000
            noisy = clean + rng.normal(0, 4000, clean.shape)
            for kind, picture in (("images", noisy), ("clean", clean)):
                file = folder / split / kind / f"{index}.png"
                Image.fromarray(picture.clip(0, 65535).astype(np.uint16)).save(file)
    return folder


def test_denoising_from_training_to_the_delivered_network(leanline, denoising, tmp_path):
    dense, out = tmp_path / "dense", tmp_path / "pruned"
    trained = leanline(
        "train", "msd", "--data", f"folder:{denoising}", "--set", "depth=3", "--iterations", 2,
        "--every", 2, "--batch-size", 2, "--out", dense, "--json",
    )  # fmt: skip
    assert trained.code == 0, trained.stderr
    command = (
        "prune", dense, "--criterion", "soft-filter", "--set-criterion", "periods=2", "--keep",
        0.5, "--steps", 2, "--iterations", 3, "--max-drop", 100, "--out", out, "--json",
    )  # fmt: skip
    pruned = leanline(*command)
    assert pruned.code == 0, pruned.stderr
    found = pruned.json
    assert found["outcome"]["deliver"] == 2
    assert "psnr" in found["outcome"]["reason"]
    assert {"psnr", "ssim", "loss", "train_loss"} <= found["stages"][-1].keys()
    assert {"psnr", "ssim"} <= found["pruned"].keys()
    config = RunFolder.read(out).config
    assert config["criterion"] == {"name": "SoftFilter", "periods": 2}
    assert config["goal"]["rules"][0]["metric"] == "psnr"
    assert leanline(*command).json["outcome"] == found["outcome"]
    assert leanline("report", out).code == 0


def test_the_delivered_stage_is_what_other_commands_take(leanline, dense, tmp_path):
    out = tmp_path / "goal"
    outcome = leanline(
        "prune", dense, "--keep", 0.2, "--steps", 3, "--iterations", 1, "--max-drop", 0,
        "--metric", "loss", "--patience", 3, "--until-filters", 7, "--lr", 0.001, "--out", out,
        "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    found = outcome.json["outcome"]
    run = RunFolder.read(out)
    assert run.stages[-1]["deliver"] == found["deliver"]
    evidence = json.loads((out / "evidence.json").read_text())
    total = evidence["network"]["filters"][0]
    kept = {row["stage"]: row["kept_filters"] for row in run.stages} | {0: total}
    assert evidence["network"]["filters"][1] == kept[found["deliver"]]
    pruned = MSD(4, 1, 2)
    load_stage(run, pruned)
    small = load(lambda: MSD(4, 1, 2), out / "network.safetensors")
    picture = torch.randn(1, 1, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(small(picture), pruned.eval()(picture), rtol=1e-4, atol=1e-5)
    text = leanline("compact", out, "--out", tmp_path / "net.safetensors")
    assert text.code == 0, text.stderr
    assert "not finished" not in text.stderr or not found["finished"]


def test_wrong_options_are_told(leanline, dense, tmp_path):
    for arguments, text in (
        (("--metric", "f1"), "goes with --max-drop"),
        (("--until-speedup", "0.5"), "above 1"),
        (("--max-drop", "0.1", "--metric", "psnr"), "the goal is about 'psnr'"),
        (("--criterion", "lean", "--set-criterion", "scope=layer"), "has no setting 'scope'"),
        (("--criterion", "random", "--set-criterion", "seed=x"), "must be a whole number"),
    ):
        outcome = leanline("prune", dense, *arguments, "--out", tmp_path / "x")
        assert outcome.code == 2, outcome.stderr
        assert text in outcome.stderr


def test_goals_as_they_are_asked_for():
    none = AskedGoal(None, None, None, None, 1)
    assert none.goal("segmentation") is None
    assert none.schedule(None, None) == Schedule(0.1, 10)
    asked = AskedGoal(10.0, 50, 0.02, None, 2)
    assert asked.schedule(None, None) == Schedule(0.01, 20)
    assert asked.schedule(0.5, 3) == Schedule(0.5, 3)
    rules = (AtSpeedup(10.0), AtFilters(50), AtMetricDrop("accuracy", 0.02))
    assert asked.goal("segmentation") == Goal(rules, 2)
    assert AskedGoal(None, None, 1.0, None, 1).goal("denoising") == Goal((AtMetricDrop("psnr", 1),))
    lower = AskedGoal(None, None, 1.0, "loss", 1).goal("denoising")
    assert lower == Goal((AtMetricDrop("loss", 1.0, "lower"),))
    with pytest.raises(ConfigError, match="goes with"):
        AskedGoal(None, None, None, "f1", 1).goal("segmentation")
