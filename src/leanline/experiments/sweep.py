"""A sweep: every network on every data set, by every rule, with every seed."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from leanline import pruning
from leanline.errors import ConfigError, LeanlineError
from leanline.experiments.cells import Cell, Pair
from leanline.experiments.config import ExperimentConfig
from leanline.experiments.pool import Task, run_tasks
from leanline.experiments.work import judge_cell, judge_dense, prune_cell, train_dense
from leanline.records.cluster import Cluster
from leanline.records.progress import bar

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sweep:
    """The cells of an experiment.

    Attributes:
        pairs: networks and data sets.
        cells: each pair with each rule and seed; seeds first, so that all rules grow alike.
    """

    pairs: tuple[Pair, ...]
    cells: tuple[Cell, ...]

    @classmethod
    def of(cls, config: ExperimentConfig, root: Path) -> Sweep:
        """The cells of a configuration, below an experiment's folder.

        Raises:
            ConfigError: there is no rule of a name, or the folder of a data set is not said.
        """
        for data, settings in config.data.items():
            kind, _, place = settings.name.partition(":")
            if place == "DIR":
                raise ConfigError(
                    f"say where the pictures are: --set data.{data}.name={kind}:FOLDER"
                )
        pairs = tuple(
            Pair(root.absolute(), config, network, data)
            for data in config.data
            for network in config.networks
            if config.criteria_of(network)
        )
        for pair in pairs:
            for criterion in config.criteria_of(pair.network):
                pruning.make_criterion(criterion)
        cells = tuple(
            Cell(pair, criterion, seed)
            for pair in pairs
            for seed in config.seeds
            for criterion in config.criteria_of(pair.network)
        )
        return cls(pairs, cells)

    def of_pair(self, pair: Pair) -> tuple[Cell, ...]:
        """The cells of one pair."""
        return tuple(cell for cell in self.cells if cell.pair == pair)


def run_sweep(sweep: Sweep, cluster: Cluster | None) -> Mapping[str, LeanlineError]:
    """Train, prune and judge all cells that are not done; returns what failed, by name.

    Test pictures are looked at when all cells are pruned, those of failed cells excepted.

    Args:
        sweep: the cells.
        cluster: who does them; None is this process.

    Raises:
        RunError: the cluster cannot be had.
    """
    tasks = {
        pair.key: Task(train_dense, pair) for pair in sweep.pairs if not pair.dense_file.exists()
    }
    open_cells = [cell for cell in sweep.cells if not cell.finished]
    tasks |= {cell.key: Task(prune_cell, cell, cell.pair.key) for cell in open_cells}
    steps = sum(cell.pair.network_config.schedule.steps for cell in open_cells)
    failures = dict(_run(tasks, "stages", steps, open_cells, cluster))
    pruned = [cell for cell in sweep.cells if cell.key not in failures]
    judging = {
        f"{pair.key} test": Task(judge_dense, pair)
        for pair in sweep.pairs
        if sweep.of_pair(pair) and pair.key not in failures
        if not pair.test_file.exists()
    }
    judging |= {f"{cell.key} test": Task(judge_cell, cell) for cell in pruned if cell.not_tested}
    failures |= _run(judging, "judging", len(judging), (), cluster)
    for key, error in failures.items():
        log.warning("%s: %s", key, error)
    return failures


def _run(
    tasks: Mapping[str, Task],
    name: str,
    steps: int,
    cells: Sequence[Cell],
    cluster: Cluster | None,
) -> Mapping[str, LeanlineError]:
    """Do tasks, with a bar that counts the stages of the given cells, or the tasks."""
    with bar(name, total=steps) as progress:
        shown = sum(len(cell.stages()) for cell in cells)
        progress.advance(shown)

        def look(done: int) -> None:
            nonlocal shown
            now = sum(len(cell.stages()) for cell in cells) if cells else done
            progress.advance(now - shown)
            shown = now

        return run_tasks(tasks, cluster, look)
