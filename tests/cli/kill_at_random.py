"""Runs a command again and again, killed at random moments, until it ends by itself.

Called by test_kill.py in a process of its own, since it forks: `kill_at_random.py OUT KILLS
COMMAND ARGUMENTS...`. First runs the command into OUT/straight, unkilled, to know how long it
takes; then into OUT/killed-0, in a child that gets SIGKILL after a random part of that time, and
again, going on from there, until it ends; then the same into OUT/killed-1 and so on, until KILLS
kills have struck. Prints the number of those folders.
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


def main(out: Path, kills: int, arguments: list[str]) -> None:
    """Kill, go on, and let the last run end; test_kill.py compares the folders."""
    torch.set_num_threads(1)  # a process with threads cannot be forked
    assert command([*arguments, "--out", str(out / "warm")]) == 0  # compiles the kernels
    begin = time.monotonic()
    assert command([*arguments, "--out", str(out / "straight")]) == 0
    seconds = time.monotonic() - begin
    rng = random.Random(0)
    struck = folders = 0
    while struck < kills:
        killed = [*arguments, "--out", str(out / f"killed-{folders}")]
        if killed_after(rng.uniform(0, seconds), killed):
            struck += 1
            done = out / f"killed-{folders}" / "stages.jsonl"
            rows = len(done.read_text().splitlines()) if done.exists() else 0
            print(f"kill {struck} of run {folders}, after {rows} rows", file=sys.stderr)
        else:  # it had ended: on to the next
            folders += 1
    assert command(killed) == 0
    sys.stdout.write(f"{folders + 1}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
