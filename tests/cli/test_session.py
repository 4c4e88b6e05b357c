"""What surrounds every command: help, speed, output, Ctrl-C, errors."""

import json
import logging
import math
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
import typer

from leanline.cli.session import run_log, session
from leanline.cli.text import number, table
from leanline.errors import ConfigError, RunError
from leanline.version import __version__

from .conftest import train_arguments

COMMANDS = ["demo", "train", "prune", "compact", "bench", "report", "tune-bench", "tune-convert"]


def test_help_lists_the_commands_and_is_quick():
    code = (
        "import sys; from leanline.cli import main\n"
        "try: main()\n"
        "finally: assert not {'torch', 'numpy', 'matplotlib'} & set(sys.modules)"
    )
    call = [sys.executable, "-c", code, "--help"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(f" {name} " in done.stdout for name in [*COMMANDS, "data"])


@pytest.mark.parametrize("name", [*COMMANDS, "data check", "data make"])
def test_every_command_has_help_and_json(leanline, name):
    outcome = leanline(*name.split(), "--help")
    assert outcome.code == 0
    plain = re.sub(r"\x1b\[[0-9;]*m", "", outcome.stdout)
    assert all(option in plain for option in ("--json", "--no-progress", "--debug"))


def test_version_and_bad_usage(leanline):
    assert leanline("--version").stdout == f"leanline {__version__}\n"
    unknown = leanline("tran")
    assert unknown.code == 2
    assert "train" in unknown.stderr
    assert leanline("train").code == 2


def test_json_is_all_there_is_on_standard_output(capsys):
    with session(True) as running:
        print("a print of some library")
        running.result({"psnr": math.inf, "loss": math.nan, "path": running.resumable}, "text")
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"psnr": None, "loss": None, "path": None}
    assert "a print of some library" in shown.err


@pytest.mark.parametrize(
    "error, code, said",
    [
        (ConfigError("keep=2"), 2, "error: keep=2"),
        (RunError("no run"), 1, "error: no run"),
        (OSError(28, "No space left on device", "x.txt"), 1, "x.txt: No space left on device"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_errors_become_exit_codes(capsys, error, code, said):
    with pytest.raises(typer.Exit) as end, session(False):
        raise error
    assert end.value.exit_code == code
    assert said in capsys.readouterr().err
    with pytest.raises(type(error)), session(False, debug=True):
        raise error


def test_a_session_leaves_no_trace():
    before = torch.get_num_threads(), logging.raiseExceptions, logging.getLogger("leanline").level
    with session(False, threads=before[0] + 1):
        assert torch.get_num_threads() == before[0] + 1
    after = torch.get_num_threads(), logging.raiseExceptions, logging.getLogger("leanline").level
    assert after == before


def test_the_log_of_a_run_tells_why_it_stopped(tmp_path):
    with (
        pytest.raises(typer.Exit),
        session(False) as running,
        run_log(running, tmp_path / "a", True),
    ):
        raise RunError("the reason")
    log = (tmp_path / "a" / "log.txt").read_text()
    assert "command: leanline" in log
    assert "stopped: the reason" in log


def test_control_c_says_how_to_go_on(pictures, tmp_path):
    out = tmp_path / "run"
    arguments = [*train_arguments(pictures), "--iterations", 100_000, "--every", 20, "--out", out]
    call = [sys.executable, "-m", "leanline", *(str(a) for a in arguments)]
    environment = {**os.environ, "COLUMNS": "200"}
    process = subprocess.Popen(call, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        end = time.monotonic() + 120
        while not (out / "stages.jsonl").exists() and time.monotonic() < end:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert f"the same command goes on from the last checkpoint in {out}" in errors


def test_tables():
    rows = [{"stage": 1, "loss": 0.123456, "best": True}, {"stage": 10, "loss": math.inf}]
    assert table(rows, ["stage", "loss", "none", "best"]).splitlines() == [
        "stage    loss  best",
        "    1  0.1235   yes",
        "   10     inf",
    ]
    rows = [{"name": "a", "filters": 10}, {"name": "conv.weight", "filters": 5}]
    assert table(rows, ["name", "filters"]).splitlines() == [
        "name         filters",
        "a                 10",
        "conv.weight        5",
    ]
    assert [number(value) for value in (None, False, 3, "a")] == ["", "", "3", "a"]
