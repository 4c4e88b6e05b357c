"""`leanline tune`, killed at random moments and called again, ends as one that was not killed."""

import json
import os
import subprocess
import sys
from pathlib import Path

from leanline.tuning import read_measurements

KILLS = 10
TESTS = Path(__file__).resolve().parent.parent


def rows(folder):
    return [json.loads(line) for line in (folder / "measured.jsonl").read_text().splitlines()]


def test_killed_at_random_moments(tmp_path):
    script = Path(__file__).with_name("kill_tune.py")
    arguments = ["tune", "tuning_kernels:in_process", "--set", "delay=0.01", "--budget", 60]
    call = [sys.executable, script, tmp_path, KILLS, *arguments, "--json"]
    paths = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [str(each) for each in call],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr
    straight, killed = tmp_path / "straight", tmp_path / "killed"

    assert rows(killed) == rows(straight)  # the same configurations in the same order, and times
    ours, theirs = (read_measurements(each / "space.parquet") for each in (killed, straight))
    assert ours.codes.tolist() == theirs.codes.tolist()
    assert ours.times.tolist() == theirs.times.tolist()
    assert ours.failures == theirs.failures and ours.failures
    assert len(ours.codes) == 60

    lines = [line.split() for line in done.stdout.splitlines() if line[0].isdigit()]
    assert len(lines) >= KILLS and int(lines[-1][0]) == KILLS
    for struck, begun, kept in (map(int, line) for line in lines):
        assert begun - kept <= struck  # a kill loses one configuration at most

    shared = rows(tmp_path / "shared")
    together = read_measurements(tmp_path / "shared" / "space.parquet")
    assert len(together.codes) == len({str(row["configuration"]) for row in shared}) >= 60
