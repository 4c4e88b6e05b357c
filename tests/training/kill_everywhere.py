"""Trains again and again, killed before each of its steps on the disk and in the loop.

Called by test_run.py in a process of its own, since it forks. Prints the number of kills.
"""

import os
import signal
import sys
from pathlib import Path

import torch
from small_data import Blobs

from leanline.models import MSD
from leanline.records.run import RunFolder
from leanline.training import Checkpointing, TrainingConfig, train

CONFIG = TrainingConfig(iterations=4, batch_size=2, lr=0.05)
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir"}


def work(folder: Path) -> list[torch.Tensor]:
    """Train, or go on training, and return the weights."""
    model = MSD(2, 1, 2, seed=1)
    train(model, Blobs(train=3, size=8), folder, CONFIG, Checkpointing(every=2))
    return list(model.state_dict().values())


def killed_before(step: int, folder: Path) -> bool:
    """Work in a child that is killed before its given step on the disk; False if it ends first."""
    child = os.fork()
    if child == 0:
        left = step

        def count(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal left
            if event in EVENTS and str(folder) in str(arguments[0]):
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
    assert os.WEXITSTATUS(status) == 0, f"failed before step {step}"
    return False


def content(folder: Path) -> tuple[list[dict[str, object]], dict[str, list[torch.Tensor]]]:
    """The rows, without their seconds, and the checkpoints of a run."""
    run = RunFolder.read(folder)
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in run.stages]
    names = sorted(file.stem for file in run.checkpoints.iterdir())
    return rows, {name: list(run.load_tensors(name)[0].values()) for name in names}


def equal(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    """Whether two lists of tensors hold the same bits."""
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def main(place: Path) -> None:
    """Kill before step 0, 1, 2, ..., resume, and compare with a run that was not killed."""
    torch.set_num_threads(1)
    weights = work(place / "straight")
    rows, checkpoints = content(place / "straight")
    kills = 0
    while killed_before(kills, place / str(kills)):
        folder = place / str(kills)
        assert equal(work(folder), weights), f"other weights after a kill before step {kills}"
        again, kept = content(folder)
        assert again == rows, (kills, again, rows)
        assert kept.keys() == checkpoints.keys(), (kills, kept.keys())
        assert all(equal(kept[name], checkpoints[name]) for name in kept), kills
        kills += 1
    print(kills)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
