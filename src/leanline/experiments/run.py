"""An experiment from its configuration to its tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from leanline.errors import LeanlineError, RunError
from leanline.experiments.config import ExperimentConfig
from leanline.experiments.networks import network_facts
from leanline.experiments.pictures import collect_pictures, collect_structure
from leanline.experiments.results import collect, write_results
from leanline.experiments.sweep import Sweep, run_sweep
from leanline.experiments.timing import time_batches, time_stages
from leanline.records.atomic import write_text
from leanline.records.cluster import Cluster
from leanline.records.configuration import canonical, plain
from leanline.records.run import RunFolder
from leanline.types import PathLike

SETTINGS = "experiment.json"
"""The resolved configuration, as of the last call."""

NETWORKS = "networks.json"
"""Table 4.1."""


@dataclass(frozen=True)
class Outcome:
    """What came of an experiment.

    Attributes:
        folder: where everything is.
        sweep: its cells.
        results: see `leanline.experiments.results.collect`.
        failures: what went wrong, by the name of the cell.
    """

    folder: Path
    sweep: Sweep
    results: pd.DataFrame
    failures: Mapping[str, LeanlineError]


def run_experiment(
    config: ExperimentConfig,
    out: PathLike,
    name: str,
    cluster: Cluster | None = None,
    resume: bool = True,
    about: Mapping[str, Any] | None = None,
) -> Outcome:
    """Run all cells of an experiment that are not done yet, and put their results together.

    The folder may be given again with more networks, rules or seeds: what is there is taken. Cells
    whose own settings differ are refused.

    Args:
        config: the experiment.
        out: its folder.
        name: what it is called.
        cluster: who does the work; None is this process.
        resume: whether to go on with what the folder holds.
        about: what else to note beside the configuration, such as the command.

    Raises:
        RunError: the folder belongs to another experiment, or cannot be written; or the cluster
            cannot be had.
    """
    folder = Path(out).absolute()
    sweep = Sweep.of(config, folder)
    if not resume and (folder / SETTINGS).exists():
        raise RunError(f"{folder} already holds an experiment; resume it, or choose another folder")
    with RunFolder.open(folder, {"command": "experiment", "experiment": name}):
        settings = {"name": name, "config": plain(asdict(config)), **(about or {})}
        write_text(folder / SETTINGS, canonical(settings, indent=2) + "\n")
        failures = run_sweep(sweep, cluster)
        write_results(collect(sweep), folder)
        if "curves" in config.parts:
            time_stages(sweep)
        if "speed" in config.parts:
            time_batches(sweep)
        if "structure" in config.parts:
            collect_structure(sweep)
        if "pictures" in config.parts:
            collect_pictures(config, sweep, folder)
        if "networks" in config.parts:
            facts = [asdict(each) for each in network_facts(config)]
            write_text(folder / NETWORKS, canonical({"networks": facts}, indent=2) + "\n")
        results = collect(sweep)
        write_results(results, folder)
    return Outcome(folder, sweep, results, failures)
