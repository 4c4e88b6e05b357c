"""Runs a sweep on two worker processes, which are killed at random moments.

`kill_workers.py CONFIG OUT KILLS`; prints how many kills struck. In a process of its own, since
Dask's workers are new processes that import the main module again.
"""

import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import psutil

from leanline.experiments.library import load
from leanline.experiments.results import collect, write_results
from leanline.experiments.sweep import Sweep, run_sweep
from leanline.records.cluster import Cluster


def rows(folder: Path) -> int:
    """Stages that are done, of all cells."""
    return sum(
        len(file.read_text().splitlines()) for file in folder.glob("runs/*/*/*/stages.jsonl")
    )


def kill_at_random(out: Path, kills: int, total: int, struck: list[int]) -> None:
    """Kill one worker each time that some more stages are done, a random moment later."""
    rng = random.Random(0)
    for mark in sorted(rng.sample(range(total - 1), kills)):
        while rows(out) < mark:
            time.sleep(0.01)
        time.sleep(rng.uniform(0.0, 0.3))
        workers = [
            child.pid
            for child in psutil.Process().children(recursive=True)
            if "spawn_main" in " ".join(child.cmdline())
        ]
        if workers:
            os.kill(rng.choice(workers), signal.SIGKILL)
            struck.append(mark)


def main() -> None:
    config, out, kills = load(sys.argv[1], "small"), Path(sys.argv[2]), int(sys.argv[3])
    out.mkdir(parents=True)
    sweep = Sweep.of(config, out)
    total = 3 * len(sweep.cells)
    struck: list[int] = []
    killer = threading.Thread(target=kill_at_random, args=(out, kills, total, struck), daemon=True)
    killer.start()
    failures = run_sweep(sweep, Cluster(2))
    write_results(collect(sweep), out)
    print(len(struck), len(failures))


if __name__ == "__main__":
    main()
