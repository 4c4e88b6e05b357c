"""The thesis's study: 14 optimisers x all spaces of a folder x 7 budgets x 50 runs, without SMAC.

    python -m benchmarks.tuning_study FOLDER [--workers 2] [--runs 50] [--out KEPT]

Prints the seconds that it took, of the clock and, without workers, of the processor, and those of
each optimiser.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from leanline import tuning
from leanline.records.cluster import Cluster
from leanline.records.progress import progress
from leanline.tuning.optimisers.paper_settings import SETTINGS


def main() -> None:
    """Make the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="measured spaces, *.parquet")
    parser.add_argument("--workers", type=int, help="processes; none: this one")
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--out", type=Path, help="folder that keeps the rows")
    given = parser.parse_args()
    replays = [tuning.Replay(file) for file in sorted(given.folder.glob("*.parquet"))]
    chosen = [each for each in SETTINGS if each is not tuning.SMAC]
    load, begin, busy = os.getloadavg()[0], time.perf_counter(), time.process_time()
    with progress():
        table = tuning.benchmark(
            chosen,
            replays,
            runs=given.runs,
            protocol="paper",
            out=given.out,
            cluster=None if given.workers is None else Cluster(workers=given.workers),
        )
    seconds, busy = time.perf_counter() - begin, time.process_time() - busy
    print(f"{len(chosen)} optimisers, {len(replays)} spaces, {given.runs} runs: {len(table)} rows")
    print(f"{seconds:.0f} s, of this process's processor time {busy:.0f} s")
    print(f"load average before {load:.1f}, after {os.getloadavg()[0]:.1f}")
    print(table.groupby("optimiser")["seconds"].sum().sort_values().round(1).to_string())


if __name__ == "__main__":
    main()
