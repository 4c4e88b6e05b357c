import subprocess
import sys
from pathlib import Path

import pytest
import torch

from leanline.errors import CheckpointError, ConfigError, RunError
from leanline.models import MSD
from leanline.records.run import RunFolder
from leanline.training import Checkpointing, Trainer, TrainingConfig, load_best, train

from .small_data import Blobs

CONFIG = TrainingConfig(iterations=7, batch_size=2, lr=0.02)
EVERY = Checkpointing(every=3)


def small_model(seed=1):
    return MSD(2, 1, 2, seed=seed)


def test_a_run_has_a_row_per_evaluation_and_keeps_the_best_weights(tmp_path):
    model, data = small_model(), Blobs()
    rows = train(model, data, tmp_path / "run", CONFIG, EVERY, about={"model": "msd"})
    assert [row["step"] for row in rows] == [3, 6, 7]
    assert {"train_loss", "val_loss", "val_accuracy", "val_f1", "val_miou"} <= rows[0].keys()
    # the same by a trainer without a folder
    plain = small_model()
    trainer = Trainer(plain, data, CONFIG)
    losses, states = [], []
    for steps in (3, 3, 1):
        trainer.fit(steps)
        losses.append(trainer.evaluate("val")["loss"])
        states.append([value.clone() for value in plain.state_dict().values()])
    assert [row["val_loss"] for row in rows] == losses
    best = states[losses.index(min(losses))]
    for got in (model, _loaded(tmp_path / "run")):
        assert all(torch.equal(a, b) for a, b in zip(got.state_dict().values(), best, strict=True))
    # only the last state and the best weights are kept
    names = sorted(file.stem for file in RunFolder.read(tmp_path / "run").checkpoints.iterdir())
    assert names == [f"best-{rows[losses.index(min(losses))]['step']}", "step-7"]


def _loaded(folder):
    model = small_model(seed=9)
    load_best(RunFolder.read(folder), model)
    return model


def test_a_finished_run_is_read_and_not_trained_again(tmp_path):
    first = small_model()
    rows = train(first, Blobs(), tmp_path, CONFIG, EVERY)
    again = small_model()
    assert train(again, Blobs(), tmp_path, CONFIG, EVERY) == rows
    assert torch.equal(first.final.weight, again.final.weight)
    with pytest.raises(RunError, match="already holds 3 stages"):
        train(small_model(), Blobs(), tmp_path, CONFIG, EVERY, resume=False)


def test_a_run_that_is_killed_anywhere_ends_with_the_same_weights(tmp_path):
    script = Path(__file__).parent / "kill_everywhere.py"
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10


def test_folders_of_other_runs_are_refused(tmp_path):
    train(small_model(), Blobs(), tmp_path, CONFIG, EVERY, about={"data": "blobs"})
    other = TrainingConfig(iterations=7, batch_size=2, lr=0.03)
    with pytest.raises(RunError, match=r"training.lr was 0.02, now 0.03"):
        train(small_model(), Blobs(), tmp_path, other, EVERY, about={"data": "blobs"})
    with pytest.raises(RunError, match="data was"):
        train(small_model(), Blobs(), tmp_path, CONFIG, EVERY, about={"data": "other"})
    with pytest.raises(RunError, match="initial_weights was"):
        train(small_model(2), Blobs(), tmp_path, CONFIG, EVERY, about={"data": "blobs"})
    with pytest.raises(CheckpointError, match="another network"):
        load_best(RunFolder.read(tmp_path), MSD(3, 1, 2))


def test_a_truncated_checkpoint_is_refused(tmp_path):
    train(small_model(), Blobs(), tmp_path, CONFIG, EVERY)
    for file in (tmp_path / "checkpoints").iterdir():
        file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(CheckpointError, match="truncated"):
        train(small_model(), Blobs(), tmp_path, CONFIG, EVERY)


def test_a_run_without_a_step_has_no_weights(tmp_path):
    config = TrainingConfig(iterations=0)
    with pytest.raises(CheckpointError, match="no trained weights"):
        train(small_model(), Blobs(), tmp_path, config)
    with pytest.raises(ConfigError, match="devices=2"):
        train(small_model(), Blobs(), tmp_path, TrainingConfig(devices=2, batch_size=2))
    with pytest.raises(ConfigError, match="every=0"):
        Checkpointing(every=0)
