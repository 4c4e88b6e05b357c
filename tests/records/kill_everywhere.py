"""Runs a small run again and again, killed before each of its steps on the disk in turn.

Called by test_run.py in a process of its own, since it forks. Prints the number of kills.
"""

import os
import signal
import sys
from pathlib import Path

import torch

from leanline.records.run import RunFolder

STAGES = 3
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.truncate", "fcntl.flock"}


def work(folder: Path) -> None:
    """Go on with the run: each stage adds to the weights of the one before it."""
    with RunFolder.open(folder, {"stages": STAGES}) as run:
        weights = {"x": torch.zeros(2)}
        if run.stages:
            weights, _ = run.load_tensors(f"stage-{len(run.stages) - 1}")
        for stage in range(len(run.stages), STAGES):
            weights = {"x": 2 * weights["x"] + stage + 1}
            run.save_tensors(f"stage-{stage}", weights)
            run.append_stage({"stage": stage, "sum": weights["x"].sum()})
            run.remove_tensors([f"stage-{stage - 1}"] if stage else [])


def killed_before(step: int, folder: Path) -> bool:
    """Work in a child that is killed before its given step on the disk; False if it ends first."""
    child = os.fork()
    if child == 0:
        left = step

        def count(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal left
            if event in EVENTS:
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1

        sys.addaudithook(count)
        try:
            work(folder)
        finally:
            os._exit(0 if sys.exc_info()[0] is None else 1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.WEXITSTATUS(status) == 0, f"failed after a kill before step {step}"
    return False


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a run, for comparison; the lock holds a process id."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and file.name != ".lock"
    }


def main(scratch: Path) -> None:
    """Kill everywhere, and compare with a run that was left alone."""
    work(scratch / "whole")
    expected = content(scratch / "whole")
    step = 0  # the number of kills so far, too
    while killed_before(step, scratch / f"killed-{step}"):
        work(scratch / f"killed-{step}")
        found = content(scratch / f"killed-{step}")
        superfluous = found.keys() - expected.keys()
        assert all("checkpoints" in name for name in superfluous), superfluous
        assert {name: found[name] for name in expected} == expected, f"kill before step {step}"
        step += 1
    # killed again and again, one step further each time
    again = scratch / "again"
    further = 0
    while killed_before(further, again):
        further += 2
    assert content(again).keys() >= expected.keys()
    assert content(again)["stages.jsonl"] == expected["stages.jsonl"]
    sys.stdout.write(f"{step}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
