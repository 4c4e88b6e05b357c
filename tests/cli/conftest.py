"""A tiny data folder, networks trained and pruned on it by the commands, and a way to call them."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from leanline.cli.app import app

SIZE = 16


@dataclass(frozen=True)
class Outcome:
    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


def call(*arguments: object) -> Outcome:
    """Call a command in this process; whatever it raises but an exit is a defect of the test."""
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    return Outcome(result.exit_code, result.stdout, result.stderr)


def write_pictures(folder: Path, count: int, seed: int, size: int = SIZE) -> None:
    """Noisy pictures whose right part is bright, and which pixels that is."""
    rng = np.random.default_rng(seed)
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for index in range(count):
        labels = np.zeros((size, size), np.uint8)
        labels[:, rng.integers(3, size - 3) :] = 1
        image = np.clip(100 * labels + rng.normal(80, 30, labels.shape), 0, 255).astype(np.uint8)
        Image.fromarray(image).save(folder / "images" / f"{index}.png")
        Image.fromarray(labels).save(folder / "labels" / f"{index}.png")


def write_folder(folder: Path) -> Path:
    for seed, (split, count) in enumerate({"train": 6, "val": 2, "test": 2}.items()):
        write_pictures(folder / split, count, seed)
    return folder


@pytest.fixture(scope="session")
def leanline() -> Callable[..., Outcome]:
    return call


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("data") / "halves")


@pytest.fixture(scope="session")
def dense(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of `leanline train`."""
    out = tmp_path_factory.mktemp("runs") / "dense"
    outcome = call(*train_arguments(pictures), "--out", out)
    assert outcome.code == 0, outcome.stderr
    return out


@pytest.fixture(scope="session")
def lean(dense: Path) -> Path:
    """A folder of `leanline prune`."""
    out = dense.with_name("lean")
    outcome = call("prune", dense, "--keep", 0.4, "--steps", 2, "--iterations", 3, "--out", out)
    assert outcome.code == 0, outcome.stderr
    return out


def train_arguments(pictures: Path) -> list[object]:
    settings = ["--set", "depth=4", "--iterations", 6, "--every", 3, "--batch-size", 2]
    return ["train", "msd", "--data", f"folder:{pictures}", *settings]
