"""Runs `leanline tune` again and again, killed at random moments, until it ends by itself.

Called by test_kill_tune.py in a process of its own, since it forks: `kill_tune.py OUT KILLS
ARGUMENTS...`. First runs the command into OUT/straight, unkilled; then into OUT/killed, in children
that get SIGKILL at random moments, KILLS times, going on from there each time; then unkilled. Last,
two children at once, with different seeds, into OUT/shared.

After each kill it prints how many configurations were begun, and how many are kept; they are begun
in OUT/begun, a byte each.
"""

import os
import random
import sys
import time
from pathlib import Path

import torch
from kill_at_random import command, killed_after


def kept(folder: Path) -> int:
    """Configurations that a folder has, whole lines only."""
    file = folder / "measured.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def main(out: Path, kills: int, arguments: list[str]) -> None:
    """Kill, and go on; test_kill_tune.py compares the folders."""
    torch.set_num_threads(1)  # a process with threads cannot be forked
    begun = out / "begun"
    os.environ["LEANLINE_TEST_BEGUN"] = str(begun)
    warm = time.monotonic()
    assert command([*arguments, "--out", str(out / "warm")]) == 0  # compiles the search
    begin = time.monotonic()
    assert command([*arguments, "--out", str(out / "straight")]) == 0
    seconds = time.monotonic() - begin
    sys.stderr.write(f"{begin - warm:.1f} s warm, {seconds:.1f} s straight\n")
    rng = random.Random(0)
    folder, struck = out / "killed", 0
    begun.write_bytes(b"")
    while struck < kills:
        # later and later, so that the kills are spread over all of the run
        struck += killed_after(
            rng.uniform(0, 2 * seconds / kills), [*arguments, "--out", str(folder)]
        )
        sys.stdout.write(f"{struck} {begun.stat().st_size} {kept(folder)}\n")
    assert command([*arguments, "--out", str(folder)]) == 0

    children = []
    for seed in ("1", "2"):
        child = os.fork()
        if child == 0:
            os._exit(command([*arguments, "--seed", seed, "--out", str(out / "shared")]))
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
