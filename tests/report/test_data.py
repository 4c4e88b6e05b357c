import json

import numpy as np
import pytest
import torch

from leanline import pruning
from leanline.errors import CheckpointError, RunError
from leanline.records.run import RunFolder
from leanline.report.reading import read
from leanline.report.sentences import headline, more_results

from .folders import (
    FILTERS,
    add_evidence,
    add_tensors,
    labels,
    make_demo,
    make_prune,
    make_train,
)


def test_a_prune_folder_is_read_as_it_was_written(tmp_path):
    folder = add_tensors(add_evidence(make_prune(tmp_path / "x")))
    report = read(folder)
    (run,) = report.runs
    rows = RunFolder.read(folder).stages
    assert report.kind == run.kind == "prune"
    assert [stage.kept for stage in run.stages] == [row["kept_filters"] for row in rows]
    assert [stage.keep for stage in run.stages] == [row["keep"] for row in rows]
    assert run.stages[1].metrics == pytest.approx({"accuracy": 0.91, "loss": 0.91})
    assert run.stages[1].train_loss == pytest.approx(0.2)
    assert run.label == "LEAN"
    assert run.planned == run.done == 3
    assert report.finished
    assert report.total_filters == FILTERS
    assert run.change("macs").fraction == pytest.approx(1 / 3)
    assert run.evidence.timing.rows[3].speedup == 20
    assert run.pictures.truth.dtype == np.int64
    assert run.adjacency["pruned"].sum() == 4


def test_an_unfinished_run_is_read(tmp_path):
    report = read(make_prune(tmp_path / "x", stop=1))
    (run,) = report.runs
    assert (run.done, run.planned) == (1, 3)
    assert not report.finished
    assert run.evidence is None and run.pictures is None and not run.adjacency
    assert report.total_filters is None


def test_a_train_folder_is_read(tmp_path):
    folder = add_evidence(
        make_train(tmp_path / "x"),
        dense=None,
        result="trained",
        trained={"accuracy": 0.97},
        timing=None,
    )
    report = read(folder)
    (run,) = report.runs
    assert report.kind == "train" and report.finished
    assert [stage.index for stage in run.stages] == [10, 20, 30]
    assert [stage.best for stage in run.stages] == [True, True, False]
    assert run.judged("trained") == {"accuracy": 0.97}
    assert not read(make_train(tmp_path / "y", planned=40)).finished


def test_a_comparison_puts_lean_first_and_names_what_is_missing(tmp_path):
    report = read(make_demo(tmp_path / "x"))
    assert report.kind == "comparison" and report.finished
    assert [run.label for run in report.runs] == ["LEAN", "Magnitude"]

    with RunFolder.open(tmp_path / "y", {"command": "demo", "rules": ["lean", "magnitude"]}):
        make_prune(tmp_path / "y" / "lean")
    report = read(tmp_path / "y")
    assert report.expected == ("magnitude",)
    assert not report.finished


def test_runs_of_one_rule_are_told_apart_by_their_folders(tmp_path):
    with RunFolder.open(tmp_path / "x", {"command": "demo"}):
        for name in ("seed0", "seed1"):
            make_prune(tmp_path / "x" / name, pruning.OperatorNorm())
    runs = read(tmp_path / "x").runs
    assert [run.label for run in runs] == ["Operator norm (seed0)", "Operator norm (seed1)"]


@pytest.mark.parametrize(
    ("metrics", "classes", "expected"),
    [
        (("accuracy", "f1", "miou", "loss"), 5, "accuracy"),
        (("accuracy", "f1", "miou", "loss"), 2, "f1"),
        (("psnr", "ssim", "loss"), 2, "psnr"),
        (("sharpness", "loss"), 2, "sharpness"),
        (("loss",), 2, "loss"),
    ],
)
def test_the_main_metric_is_that_of_the_task(tmp_path, metrics, classes, expected):
    folder = make_prune(tmp_path / "x", names=metrics)
    assert read(add_tensors(folder, labels(classes))).metric.name == expected


def test_a_label_that_does_not_count_is_no_third_class(tmp_path):
    truth = labels(2)
    folder = make_prune(tmp_path / "x", names=("accuracy", "f1"))
    add_tensors(add_evidence(folder, ignore=255), truth)
    truth = torch.where(torch.rand(truth.shape, generator=torch.Generator()) < 0.1, 255, truth)
    add_tensors(folder, truth, wrong=0)
    assert read(folder).metric.name == "f1"


@pytest.mark.parametrize("content", [None, "", "x"])
def test_what_is_no_run_folder_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(RunError, match=r"config\.json"):
        read(tmp_path)


def test_a_run_without_a_report_is_refused(tmp_path):
    with RunFolder.open(tmp_path / "x", {"command": "bench"}):
        pass
    with pytest.raises(RunError, match=r"'bench'.*train, prune or demo"):
        read(tmp_path / "x")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"schema": 99}',
        '{"dense": 3}',
        '{"dense": {"accuracy": "high"}}',
        '{"network": {"filters": [1]}}',
        '{"timing": {"rows": [{"name": "x"}]}}',
        '{"deviation": "small"}',
    ],
)
def test_damaged_evidence_is_refused_by_name(tmp_path, text):
    folder = make_prune(tmp_path / "x")
    (folder / "evidence.json").write_text(text)
    with pytest.raises(RunError, match=r"evidence\.json"):
        read(folder)


def test_damaged_tensors_are_refused_by_name(tmp_path):
    folder = add_tensors(make_prune(tmp_path / "x"))
    file = folder / "evidence.safetensors"
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(CheckpointError, match=r"evidence\.safetensors"):
        read(folder)
    add_tensors(folder, images=torch.zeros(2, 1, 5, 5))
    with pytest.raises(RunError, match="do not fit together"):
        read(folder)


def test_rows_of_another_kind_are_refused(tmp_path):
    with RunFolder.open(tmp_path / "x", {"command": "prune"}) as run:
        run.append_stage({"step": 1})
    with pytest.raises(RunError, match="not those of a prune folder"):
        read(tmp_path / "x")


def test_reading_changes_nothing(tmp_path):
    folder = add_tensors(add_evidence(make_prune(tmp_path / "x")))
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    read(folder)
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


def test_missing_parts_of_the_evidence_are_no_error(tmp_path):
    folder = make_prune(tmp_path / "x")
    (folder / "evidence.json").write_text(json.dumps({"machine": "m", "timing": {"rows": []}}))
    run = read(folder).runs[0]
    assert run.evidence.timing is None
    assert run.change("filters") is None
    assert run.judged("dense") == {}


@pytest.mark.parametrize(
    ("allowed", "result", "said"),
    [(0.05, 2, "stage 2 is delivered; stage 3 broke a limit"), (0.01, None, "unpruned network")],
)
def test_a_goal_says_which_stage_counts(tmp_path, allowed, result, said):
    goal = pruning.Goal((pruning.AtMetricDrop("accuracy", allowed, reference=0.95),))
    report = read(make_prune(tmp_path / "x", goal=goal))
    (run,) = report.runs
    assert report.finished
    assert (run.result and run.result.index) == result
    assert len(run.stages) == (3 if result else 1)
    lines = [headline(report), *more_results(report)]
    assert any(said in line for line in lines)
    if result:
        assert f"{run.stages[1].kept} filters kept" in lines[0]
    else:
        assert "the unpruned network stays" in lines[0]
