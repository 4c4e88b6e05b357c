"""The page docs/concepts/tuning-fidelity.md: our runs of the paper's optimisers beside the paper's.

    python tools/tuning_fidelity.py FOLDER [--workers N]

FOLDER holds the three measured spaces with published results (Parquet) and paper_results.csv.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from leanline import tuning
from leanline.records.atomic import write_text
from leanline.records.cluster import Cluster
from leanline.records.progress import progress
from leanline.tuning.optimisers.base import CompiledOptimiser
from leanline.tuning.optimisers.paper_settings import SETTINGS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "concepts" / "tuning-fidelity.md"
SPACES = {
    "convolution": "convolution_A100.parquet",
    "gemm": "gemm_V100.parquet",
    "pnpoly": "pnpoly_K20.parquet",
}
NAMES = {"GeneticLocalSearch": "GLS"}  # what the published table calls it, where that differs
RUNS, RUNS_OF_SCIPY = 400, 50
LIMIT = 3.0

HEAD = """# Tuning: our runs beside the paper's

Every optimiser of the paper with its settings for each budget, protocol `paper`, on the three
spaces whose results are published; made by

```console
$ python tools/tuning_fidelity.py FOLDER --workers 2
```

A cell is our mean fraction of the optimum / the published one, and z in brackets: the difference in
standard errors (of {runs} runs of ours, {few} of SciPy's optimisers, and 50 of the paper's). Cells
with |z| of {limit:g} or more are bold. SMAC is left out: its runs take a minute and more each.

"""

TAIL = """
## What differs by definition

The published runs were made with BlooPy. Ours follow its definitions of the algorithms, but for the
budget, which is never exceeded here. There the genetic algorithms and the particle swarm finish
their generation: with 320 members and a budget of 1600 a run of the genetic algorithm makes up to
1,920 look-ups, and the particle swarm with 25 particles and a budget of 50 makes 57 to 66 unique
evaluations on average. So our genetic algorithm is worse at 1600 on GEMM, and our particle swarm
tends to be a little worse at 50.

Details that matter, and are easily done in another way:

- Iterated local search never gives up the best of the run: after `no_improve` climbs in vain one
  climb begins at random, and the next jump is from the best again. Begun anew from a random point
  it reaches .948 instead of .99 on the convolution at 1600.
- A genetic algorithm, genetic local search and differential evolution end when the population has
  converged, before the budget is spent.
- Tournaments are drawn with replacement, and with one challenger more than their name says.
- In the box of SciPy's optimisers all cells are equally wide. Basin hopping begins in the middle;
  COBYLA's first step and the finite differences are one cell wide.
- Basin hopping is ended by the clock in the paper where it finds nothing new (after 216 of 400
  evaluations with COBYLA on the convolution, 21.5 of 25 with Powell); here by the number of
  look-ups that bring nothing new.

## What is left

- Best-improvement MLS at 25 on GEMM and at 200 on point-in-polygon: BlooPy 0.4.2 itself gives .522
  (600 runs) and .968 (300 runs) there, as ours does, not the published .662 and .986. We know of no
  cause but chance.
- Basin hopping with Powell at 25 on the convolution: the published runs are stopped by the clock,
  as said above. With SLSQP at 800 on point-in-polygon we find more than the paper: not explained;
  SciPy's SLSQP was rewritten since.
"""


def compare(folder: Path, workers: int | None) -> pd.DataFrame:
    """A row an optimiser, space and budget: ours, published, z."""
    replays = {space: tuning.Replay(folder / name) for space, name in SPACES.items()}
    kernels = {replay.name: space for space, replay in replays.items()}
    chosen = [each for each in SETTINGS if each is not tuning.SMAC]
    cluster = None if workers is None else Cluster(workers=workers)
    tables = []
    for compiled, runs in ((True, RUNS), (False, RUNS_OF_SCIPY)):
        some = [each for each in chosen if issubclass(each, CompiledOptimiser) == compiled]
        tables.append(
            tuning.benchmark(
                some, list(replays.values()), runs=runs, protocol="paper", cluster=cluster
            )
        )
    ours = pd.concat(tables)
    evaluations = ours.groupby(["optimiser", "space", "budget"])["evaluations"].mean()
    ours = tuning.summarise(ours).set_index(["optimiser", "space", "budget"])
    ours["evaluations"] = evaluations
    ours = ours.reset_index()
    ours["kernel"] = ours["space"].map(kernels)
    ours["algorithm"] = [NAMES.get(each, each) for each in ours["optimiser"]]
    published = pd.read_csv(folder / "paper_results.csv")
    merged = ours.merge(
        published, on=["kernel", "algorithm", "budget"], suffixes=("", "_published")
    )
    error = np.sqrt(
        merged["std"] ** 2 / merged["runs"] + merged["frac_std"] ** 2 / merged["runs_published"]
    )
    apart = merged["mean"] - merged["frac_mean"]
    merged["z"] = np.where(apart == 0, 0.0, apart / error.where(error > 0, 1e-12))
    return merged


def page(table: pd.DataFrame) -> str:
    """The page's text."""
    parts = [HEAD.format(runs=RUNS, few=RUNS_OF_SCIPY, limit=LIMIT)]
    parts.append("| optimiser | cells | \\|z\\| < 3 | largest \\|z\\| |\n|---|---|---|---|\n")
    for name, cells in table.groupby("optimiser", sort=False):
        near = (cells["z"].abs() < LIMIT).sum()
        parts.append(f"| {name} | {len(cells)} | {near} | {cells['z'].abs().max():.1f} |\n")
    near = (table["z"].abs() < LIMIT).sum()
    parts.append(f"| all | {len(table)} | {near} | {table['z'].abs().max():.1f} |\n")
    budgets = sorted(table["budget"].unique())
    for name, cells in table.groupby("optimiser", sort=False):
        parts.append(f"\n## {name}\n\n| | " + " | ".join(map(str, budgets)) + " |\n")
        parts.append("|---" * (len(budgets) + 1) + "|\n")
        for kernel, row in cells.groupby("kernel", sort=False):
            shown = [_cell(row[row["budget"] == budget].iloc[0]) for budget in budgets]
            parts.append(f"| {kernel} | " + " | ".join(shown) + " |\n")
    return "".join(parts) + TAIL


def _cell(row: pd.Series) -> str:
    text = f"{row['mean']:.3f} / {row['frac_mean']:.3f} ({row['z']:+.1f})"
    return f"**{text}**" if abs(row["z"]) >= LIMIT else text


def main() -> None:
    """Make the page and say where it is bold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int)
    given = parser.parse_args()
    with progress():
        table = compare(given.folder, given.workers)
    write_text(PAGE, page(table))
    print(table[table["z"].abs() >= LIMIT][["optimiser", "kernel", "budget", "mean", "z"]])


if __name__ == "__main__":
    main()
