import json
import logging
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import leanline
from leanline.errors import CheckpointError, ConfigError, RunError
from leanline.records.run import SCHEMA, RunFolder

CONFIG = {"keep": 0.05, "seed": 0, "criterion": {"class": "Lean"}}


def test_a_new_folder(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path / "runs" / "x", CONFIG) as run:
        assert run.stages == ()
        assert run.config == CONFIG
    header = json.loads((tmp_path / "runs" / "x" / "config.json").read_text())
    assert header == {
        "schema": SCHEMA,
        "leanline": leanline.__version__,
        "torch": str(torch.__version__),
        "config": CONFIG,
    }


def test_rows_come_back(tmp_path: Path) -> None:
    row = {"stage": 0, "accuracy": np.float32(0.5), "psnr": math.inf, "loss": torch.tensor(0.25)}
    with RunFolder.open(tmp_path, CONFIG) as run:
        run.append_stage({**row, "note": "a\nb", "done": True, "none": None})
    with RunFolder.open(tmp_path, CONFIG) as run:
        run.append_stage({"stage": 1})
        assert len(run.stages) == 2
    first, second = RunFolder.read(tmp_path).stages
    assert first["psnr"] == math.inf
    assert (first["accuracy"], first["loss"], first["note"]) == (0.5, 0.25, "a\nb")
    assert (first["done"], first["none"]) == (True, None)
    assert second == {"stage": 1}


def test_rows_are_flat(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, CONFIG) as run:
        with pytest.raises(ConfigError, match="column 'metrics' holds a dict"):
            run.append_stage({"metrics": {"f1": 1}})
        with pytest.raises(ConfigError, match=r"'sha256\.x'"):
            run.append_stage({"sha256.x": "0"})
    assert RunFolder.read(tmp_path).stages == ()


def test_another_configuration_is_named(tmp_path: Path) -> None:
    RunFolder.open(tmp_path, CONFIG).close()
    with pytest.raises(
        RunError, match=r"another configuration: keep was 0\.05, now 0\.1; seed"
    ) as e:
        RunFolder.open(tmp_path, {**CONFIG, "keep": 0.1, "seed": 1})
    assert "criterion" not in str(e.value)
    # the failure gave the folder back
    RunFolder.open(tmp_path, CONFIG).close()


def test_no_resume(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, CONFIG, resume=False) as run:
        run.append_stage({"stage": 0})
    with pytest.raises(RunError, match="already holds 1 stages"):
        RunFolder.open(tmp_path, CONFIG, resume=False)
    with RunFolder.open(tmp_path, CONFIG) as run:
        assert len(run.stages) == 1


def test_newer_layout(tmp_path: Path) -> None:
    RunFolder.open(tmp_path, CONFIG).close()
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "schema": SCHEMA + 1}))
    for use in (lambda: RunFolder.open(tmp_path, CONFIG), lambda: RunFolder.read(tmp_path)):
        with pytest.raises(RunError, match=f"with layout {SCHEMA + 1}"):
            use()


def test_other_versions_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    RunFolder.open(tmp_path, CONFIG).close()
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "torch": "2.9.0"}))
    with caplog.at_level(logging.WARNING, "leanline"), RunFolder.open(tmp_path, CONFIG) as run:
        assert run.versions["torch"] == "2.9.0"
    assert "begun with torch 2.9.0" in caplog.text


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"schema": 1}', '{"schema": "1", "config": {}}']
)
def test_damaged_configuration(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(RunError, match=r"config\.json is damaged"):
        RunFolder.open(tmp_path, CONFIG)


def test_damaged_rows(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, CONFIG) as run:
        run.append_stage({"stage": 0})
    with (tmp_path / "stages.jsonl").open("a") as file:
        file.write('{"stage": ')
    with pytest.raises(RunError, match=r"stages\.jsonl, line 2 is damaged"):
        RunFolder.open(tmp_path, CONFIG)


def test_a_folder_of_other_things(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(RunError, match=r"holds no run \(it has holiday\.jpg\)"):
        RunFolder.open(tmp_path, CONFIG)
    with pytest.raises(RunError, match="is no run folder"):
        RunFolder.read(tmp_path)
    with pytest.raises(RunError, match="is a file"):
        RunFolder.open(tmp_path / "holiday.jpg", CONFIG)


def test_one_writer_and_any_readers(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, CONFIG) as run:
        with pytest.raises(RunError, match="is in use by process"):
            RunFolder.open(tmp_path, CONFIG)
        reader = RunFolder.read(tmp_path)
        with pytest.raises(RunError, match="not open for writing"):
            reader.append_stage({"stage": 0})
    with pytest.raises(RunError, match="not open for writing"):
        run.save_tensors("x", {})


def test_a_follower_writes_nothing(tmp_path: Path) -> None:
    """It begins with what is there, also with nothing, and goes on in memory."""
    early = RunFolder.follow(tmp_path / "x", CONFIG)
    assert early.stages == () and not (tmp_path / "x").exists()
    with RunFolder.open(tmp_path / "x", CONFIG) as writer:
        writer.save_tensors("stage-0", {"w": torch.ones(2)})
        writer.append_stage({"stage": 0})
        files = {file: file.read_bytes() for file in (tmp_path / "x").rglob("*") if file.is_file()}
        follower = RunFolder.follow(tmp_path / "x", CONFIG)
        assert torch.equal(follower.load_tensors("stage-0")[0]["w"], torch.ones(2))
        for run in (early, follower):
            run.save_tensors("stage-1", {"w": torch.zeros(2)})
            run.append_stage({"stage": 1})
            run.remove_tensors(["stage-0"])
            run.close()
        assert [row["stage"] for row in follower.stages] == [0, 1]
        assert [row["stage"] for row in early.stages] == [1]
        assert files == {file: file.read_bytes() for file in files}
        assert len(list((tmp_path / "x").rglob("*.safetensors"))) == 1
        with pytest.raises(RunError, match="another configuration: keep"):
            RunFolder.follow(tmp_path / "x", {**CONFIG, "keep": 0.1})


def test_checkpoints(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, CONFIG) as run:
        run.save_tensors("stage-0", {"x": torch.zeros(3)})
        run.save_tensors("stage-0", {"x": torch.ones(3)}, {"kind": "weights"})
        row = run.append_stage({"stage": 0})
        assert len(str(row["sha256.stage-0"])) == 64
        with pytest.raises(ConfigError, match="belongs to a finished stage"):
            run.save_tensors("stage-0", {"x": torch.zeros(3)})
        with pytest.raises(ConfigError, match="no name for a checkpoint"):
            run.save_tensors("../x", {})
    run = RunFolder.read(tmp_path)
    tensors, metadata = run.load_tensors("stage-0")
    assert torch.equal(tensors["x"], torch.ones(3))
    assert metadata == {"kind": "weights"}
    assert run.has_tensors("stage-0")
    assert not run.has_tensors("stage-1")


def test_a_swapped_checkpoint(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, CONFIG) as run:
        for stage in range(2):
            run.save_tensors(f"stage-{stage}", {"x": torch.full((3,), stage)})
            run.append_stage({"stage": stage})
        shutil.copy(
            run.checkpoints / "stage-0.safetensors", run.checkpoints / "stage-1.safetensors"
        )
        with pytest.raises(CheckpointError, match=r"stage-1\.safetensors is not the checkpoint"):
            run.load_tensors("stage-1")
        run.remove_tensors(["stage-0", "never-there"])
        with pytest.raises(CheckpointError, match=r"there is no file .*stage-0\.safetensors"):
            run.load_tensors("stage-0")


def test_killed_before_every_step_on_the_disk(tmp_path: Path) -> None:
    script = Path(__file__).with_name("kill_everywhere.py")
    command = [sys.executable, str(script), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10
