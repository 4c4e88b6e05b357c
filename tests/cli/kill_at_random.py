"""Runs a command again and again, killed at random moments, until it ends by itself.

Called by test_kill.py in a process of its own, since it forks: `kill_at_random.py OUT KILLS
COMMAND ARGUMENTS...`. First runs the command into OUT/straight, unkilled, to know how long it
takes; then into OUT/killed-0, in a child that gets SIGKILL at a random moment of the stages, again
at a random moment of the whole, going on from there, and then unkilled; the same into OUT/killed-1
and so on, until KILLS kills have struck. Prints the number of those folders.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from leanline.cli.app import app


def command(arguments: list[str]) -> int:
    """Call the command line in this process; its exit code."""
    try:
        app(arguments, prog_name="leanline")
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def killed_after(delay: float, arguments: list[str]) -> bool:
    """Call the command in a child that is killed after some time; False if it ended before."""
    child = os.fork()
    if child == 0:
        os._exit(command(arguments))
    end = time.monotonic() + delay
    while time.monotonic() < end:
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def count_rows(folder: Path) -> int:
    """Stages that a run has committed."""
    rows = folder / "stages.jsonl"
    return len(rows.read_text().splitlines()) if rows.exists() else 0


def main(out: Path, kills: int, arguments: list[str]) -> None:
    """Kill, go on, and let the last run end; test_kill.py compares the folders."""
    torch.set_num_threads(1)  # a process with threads cannot be forked
    assert command([*arguments, "--out", str(out / "warm")]) == 0  # compiles the kernels
    begin, began = time.monotonic(), time.time()
    assert command([*arguments, "--out", str(out / "straight")]) == 0
    seconds = time.monotonic() - begin
    last_row = (out / "straight" / "stages.jsonl").stat().st_mtime - began
    rng = random.Random(0)
    struck = folders = 0
    while struck < kills:
        killed = [*arguments, "--out", str(out / f"killed-{folders}")]
        for until in (last_row, seconds):  # the stages may be a small part of the time
            struck += killed_after(rng.uniform(0, until), killed)
            rows = count_rows(out / f"killed-{folders}")
            print(f"{struck} kills, run {folders} has {rows} rows", file=sys.stderr)
        assert command(killed) == 0
        folders += 1
    sys.stdout.write(f"{folders}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
