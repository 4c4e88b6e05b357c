"""Optimisers x spaces x budgets x runs, as one table."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd

from leanline.errors import ConfigError, RunError
from leanline.records.atomic import atomic_write
from leanline.records.cluster import Cluster, connect
from leanline.records.configuration import canonical, plain
from leanline.records.progress import bar
from leanline.tuning.objectives import Replay
from leanline.tuning.optimisers.base import CompiledOptimiser, Optimiser
from leanline.tuning.optimisers.paper_settings import BUDGETS, paper_settings
from leanline.tuning.problem import ENDINGS, Problem, Protocol, seeds_of
from leanline.types import PathLike

Contestant: TypeAlias = Optimiser | type[Optimiser]
"""An optimiser with its settings, or a class: then with the paper's settings for each budget."""


def benchmark(
    optimisers: Sequence[Contestant] | Mapping[str, Contestant],
    replays: Sequence[Replay],
    *,
    budgets: Sequence[int] = BUDGETS,
    runs: int = 50,
    seed: int = 0,
    protocol: Protocol = "valid",
    out: PathLike | None = None,
    cluster: Cluster | None = None,
) -> pd.DataFrame:
    """Run every optimiser on every space with every budget, many times.

    Args:
        optimisers: What is compared, each under a name of its own: its class's, or, to compare
            settings of one class, that of a mapping.
        replays: The spaces, each under a name of its own.
        budgets: Numbers of unique evaluations.
        runs: Runs of each.
        seed: Equal seeds, equal tables, but for the seconds.
        protocol: What may be evaluated, and what it costs; the two make different tables.
        out: A folder that keeps the rows of each optimiser, space and budget as soon as they are
            there; what it holds already, of the same settings and measurements, is not run again.
        cluster: Who makes the runs, such as ``Cluster(workers=2)``; None: this process. The table
            is the same, but for the seconds.

    Returns:
        A row a run: optimiser, space, budget, run, fraction (best time of the space / mean time of
        what was found; 0 where nothing ran), evaluations (unique), seconds (the mean over the
        runs), kernel, device, lookups (evaluations with repeated ones), ended (why).

    Raises:
        ConfigError: Nothing to run, two of one name, a class without settings of the paper, or a
            number below 1.
        RunError: The folder cannot be written to, Dask is not installed, or does not answer.
    """
    if not isinstance(optimisers, Mapping):
        _need_once("optimisers", [_name(each) for each in optimisers])
        optimisers = {_name(each): each for each in optimisers}
    _need_once("optimisers", list(optimisers))
    _need_once("spaces", [replay.name for replay in replays])
    _need_once("budgets", list(budgets))
    folder = None if out is None else Path(out)
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot make the folder {folder}: {error.strerror}") from error
    contents = {replay.name: _fingerprint(replay) for replay in replays}
    cells = [
        _Cell(
            name,
            contestant if isinstance(contestant, Optimiser) else paper_settings(contestant, budget),
            replay.name,
            budget,
            runs,
            seed,
            protocol,
        )
        for replay in replays
        for name, contestant in optimisers.items()
        for budget in budgets
    ]
    files = {} if folder is None else {each: each.file(folder, replays, contents) for each in cells}
    tables: dict[_Cell, pd.DataFrame] = {}
    with bar("tuning benchmark", total=len(cells)) as report:
        for cell, file in files.items():
            if file.exists():
                tables[cell] = pd.read_parquet(file)
                report.advance(optimiser=cell.name, space=cell.space)
        missing = [cell for cell in cells if cell not in tables]
        finished = _here(missing, replays) if cluster is None else _on(cluster, missing, replays)
        for cell, table in finished:
            tables[cell] = table
            if cell in files:
                with atomic_write(files[cell]) as temporary:
                    table.to_parquet(temporary, index=False)
            report.advance(optimiser=cell.name, space=cell.space)
    return pd.concat([tables[cell] for cell in cells], ignore_index=True)


@dataclass(frozen=True, eq=False)
class _Cell:
    """The runs of one optimiser on one space with one budget."""

    name: str
    optimiser: Optimiser
    space: str
    budget: int
    runs: int
    seed: int
    protocol: Protocol

    def file(self, folder: Path, replays: Sequence[Replay], contents: Mapping[str, str]) -> Path:
        """Where the rows are kept; another one for other settings and measurements."""
        replay = next(each for each in replays if each.name == self.space)
        asked = plain(
            {
                "name": self.name,
                "optimiser": self.optimiser,
                "measurements": contents[self.space],
                "times": replay.times,
                "budget": self.budget,
                "runs": self.runs,
                "seed": self.seed,
                "protocol": self.protocol,
            }
        )
        return folder / f"{hashlib.sha256(canonical(asked).encode()).hexdigest()[:24]}.parquet"

    def rows(self, replay: Replay) -> pd.DataFrame:
        """Make the runs."""
        runs = self.runs
        problem = Problem(replay, self.budget, protocol=self.protocol, runs=runs)
        seeds = seeds_of(self.seed, runs, self.name, replay.name, self.budget)
        start = time.perf_counter()
        self.optimiser.run(problem, seeds)
        seconds = (time.perf_counter() - start) / runs
        gate = problem.gate
        found = [replay.measure(int(code)) if code >= 0 else np.inf for code in gate.found]
        return pd.DataFrame(
            {
                "optimiser": self.name,
                "space": replay.name,
                "budget": self.budget,
                "run": np.arange(runs),
                "fraction": replay.optimum / np.array(found),
                "evaluations": gate.spent,
                "seconds": seconds,
                "kernel": replay.measurements.kernel,
                "device": replay.measurements.device,
                "lookups": gate.looked,
                "ended": [ENDINGS[int(code)] for code in gate.ended],
            }
        )


Finished: TypeAlias = Iterator[tuple[_Cell, pd.DataFrame]]


def _here(cells: Sequence[_Cell], replays: Sequence[Replay]) -> Finished:
    spaces = {replay.name: replay for replay in replays}
    for cell in cells:
        yield cell, cell.rows(spaces[cell.space])


def _on(cluster: Cluster, cells: Sequence[_Cell], replays: Sequence[Replay]) -> Finished:
    if not cells:
        return
    with connect(cluster) as client:
        from distributed import as_completed

        spaces = {replay.name: client.scatter(replay, hash=False) for replay in replays}
        # what is not compiled takes longest, most of all with large budgets: first, so that no
        # worker is left with it at the end
        ordered = sorted(
            cells, key=lambda cell: (isinstance(cell.optimiser, CompiledOptimiser), -cell.budget)
        )
        running = {
            client.submit(_Cell.rows, cell, spaces[cell.space], pure=False): cell
            for cell in ordered
        }
        for future in as_completed(running):
            yield running[future], future.result()


def _need_once(what: str, listed: Sequence[object]) -> None:
    if not listed or len(set(listed)) < len(listed):
        raise ConfigError(f"{what} {listed} were given; at least one is wanted, and none twice")


def _name(contestant: Contestant) -> str:
    return contestant.name if isinstance(contestant, Optimiser) else contestant.__name__


def _fingerprint(replay: Replay) -> str:
    """What tells two sets of measurements apart."""
    measured = replay.measurements
    digest = hashlib.sha256(repr((replay.name, measured.space.names)).encode())
    for values in (measured.space.sizes, measured.codes, measured.times, measured.samples):
        digest.update(np.ascontiguousarray(values).tobytes())
    digest.update(measured.space.valid_codes().tobytes())
    return digest.hexdigest()
