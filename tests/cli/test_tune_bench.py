"""The tuning benchmark as a user calls it, on small made-up spaces."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pandas as pd
import pytest

from leanline import tuning
from leanline.tuning import embedded
from tuning_spaces import measured, small_space

SMALL = ("--optimisers", "random-sampling,FirstMLS", "--budgets", "4,12", "--runs", 3)


@pytest.fixture
def space(tmp_path):
    file = tmp_path / "spaces" / "kernel.parquet"
    file.parent.mkdir()
    tuning.write_measurements(measured(small_space()), file, "parquet")
    return file


def test_the_way_of_a_user(leanline, space, tmp_path):
    out = tmp_path / "run"
    done = leanline("tune-bench", space, *SMALL, "--out", out, "--json")
    assert done.code == 0, done.stderr
    assert done.json["runs"] == 2 * 2 * 3
    assert {row["optimiser"] for row in done.json["recommendation"]} == {
        "RandomSampling",
        "FirstMLS",
    }
    table = pd.read_parquet(done.json["results"])
    contestants = [tuning.RandomSampling, tuning.FirstMLS]
    expected = tuning.benchmark(contestants, [tuning.Replay(space)], budgets=(4, 12), runs=3)
    same = [name for name in expected.columns if name != "seconds"]
    pd.testing.assert_frame_equal(table[same], expected[same])
    assert set(table["protocol"]) == {"valid"} and set(table["times"]) == {"mean"}
    page = (out / "report.html").read_text()
    assert "FirstMLS" in page and "kernel device" in page and "compile: " in page
    shown = leanline("tune-bench", space, *SMALL, "--out", out)
    assert "report: " in shown.stdout and "evaluations use" in shown.stdout
    again = pd.read_parquet(out / "results.parquet")
    pd.testing.assert_frame_equal(table, again)  # the seconds too: nothing was run
    (out / "report.html").unlink()
    assert leanline("report", out).code == 0 and (out / "report.html").is_file()


def test_a_folder_grows_but_never_mixes(leanline, space, tmp_path):
    out = tmp_path / "run"
    assert leanline("tune-bench", space, *SMALL, "--out", out).code == 0
    other = tmp_path / "spaces" / "other.json"
    tuning.write_measurements(
        replace(measured(small_space(False), seed=1), kernel="other"), other, "kernel-tuner"
    )
    grown = leanline("tune-bench", space.parent, *SMALL, "--out", out, "--json")
    assert grown.code == 0 and grown.json["runs"] == 2 * 2 * 2 * 3
    for option in (("--protocol", "paper"), ("--seed", 1), ("--noise",), ("--runs", 4)):
        refused = leanline("tune-bench", space, *SMALL, *option, "--out", out)
        assert refused.code == 1 and "another configuration" in refused.stderr
    refused = leanline("tune-bench", space, *SMALL, "--no-resume", "--out", out)
    assert refused.code == 1 and "already holds" in refused.stderr


def test_noise_and_the_paper_s_protocol(leanline, space, tmp_path):
    options = ("--noise", "--protocol", "paper", "--seed", 2)
    done = leanline("tune-bench", space, *SMALL, *options, "--out", tmp_path / "x", "--json")
    table = pd.read_parquet(done.json["results"])
    expected = tuning.benchmark(
        {"RandomSampling": tuning.RandomSampling},
        [tuning.Replay(space, times="drawn")],
        budgets=(4, 12), runs=3, seed=2, protocol="paper",
    )  # fmt: skip
    own = table[table["optimiser"] == "RandomSampling"].reset_index(drop=True)
    assert own["fraction"].tolist() == expected["fraction"].tolist()
    assert set(table["times"]) == {"drawn"}


def test_bad_usage(leanline, space, tmp_path, monkeypatch):
    out = ("--out", tmp_path / "x")
    for arguments, words in (
        ((space, "--optimisers", "FirstISL"), "did you mean"),
        ((space, "--optimisers", "FirstILS,first-ils"), "given twice"),
        ((space, "--budgets", "25,many"), "whole numbers"),
        ((space, "--budgets", "0"), "from 1 on"),
        ((space, "--alpha", "2"), "between 0 and 1"),
        ((tmp_path / "none.parquet",), "no file or folder"),
        ((space, space), "both of 'kernel device'"),
    ):
        outcome = leanline("tune-bench", *arguments, *out)
        assert outcome.code == 2 and words in outcome.stderr, (arguments, outcome.stderr)
    (tmp_path / "empty").mkdir()
    assert "holds no space" in leanline("tune-bench", tmp_path / "empty", *out).stderr
    (tmp_path / "cut.parquet").write_bytes(space.read_bytes()[:100])
    assert leanline("tune-bench", tmp_path / "cut.parquet", *out).code == 1
    assert not (tmp_path / "x").exists() or not (tmp_path / "x" / "results.parquet").exists()
    monkeypatch.setattr(embedded, "FOLDER", tmp_path / "nothing")
    outcome = leanline("tune-bench", *out)
    assert outcome.code == 2 and "comes without measured spaces" in outcome.stderr


def test_the_spaces_of_leanline_are_the_default(leanline, space, tmp_path, monkeypatch):
    monkeypatch.setattr(embedded, "FOLDER", space.parent)
    listed = leanline("tune-bench", "--list", "--json").json
    assert listed["spaces"] == ["kernel.parquet"] and "GaussianProcess" in listed["optimisers"]
    done = leanline("tune-bench", *SMALL, "--out", tmp_path / "x", "--json")
    assert done.code == 0 and done.json["runs"] == 12


def test_workers_make_the_same_runs(leanline, space, tmp_path):
    one = leanline("tune-bench", space, *SMALL, "--out", tmp_path / "one", "--json")
    two = leanline("tune-bench", space, *SMALL, "--out", tmp_path / "two", "--workers", 2, "--json")
    assert two.code == 0, two.stderr
    first, second = (pd.read_parquet(each.json["results"]) for each in (one, two))
    same = [name for name in first.columns if name != "seconds"]
    pd.testing.assert_frame_equal(first[same], second[same])


def test_ctrl_c_is_told_and_keeps_what_is_done(space, tmp_path):
    out = tmp_path / "run"
    arguments = ["tune-bench", space, "--optimisers", "RandomSampling,GaussianProcess"]
    arguments += ["--budgets", "5,30", "--runs", 400, "--out", out]
    call = [sys.executable, "-m", "leanline", *map(str, arguments)]
    running = subprocess.Popen(call, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    finished = "cells/[!.]*.parquet"  # not a file that is being written
    deadline = time.monotonic() + 120
    while not list(out.glob(finished)) and time.monotonic() < deadline:
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130 and "the same command goes on" in said
    assert list(out.glob(finished)) and not (out / "results.parquet").exists()


def test_conversion(leanline, space, tmp_path):
    target = tmp_path / "t4.json.gz"
    done = leanline("tune-convert", space, target, "--to", "t4", "--json")
    assert done.code == 0 and done.json["format"] == "t4", done.stderr
    back = tmp_path / "back.parquet"
    assert leanline("tune-convert", target, back).code == 0
    first, again = tuning.read_measurements(space), tuning.read_measurements(back)
    assert first.best_time == pytest.approx(again.best_time)
    assert len(first.times) == len(again.times)
    cache = leanline("tune-convert", space, tmp_path / "cache.json", "--json")
    assert cache.json["format"] == "kernel-tuner"
    for arguments, code in (
        ((space, tmp_path / "x.csv"), 2),
        ((space, tmp_path / "x.json", "--to", "parquet"), 2),
        ((space, tmp_path / "x.parquet", "--to", "t4"), 2),
        ((tmp_path / "none.json", tmp_path / "x.parquet"), 1),
    ):
        assert leanline("tune-convert", *arguments).code == code
