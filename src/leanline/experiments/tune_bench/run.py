"""A tuning benchmark from its configuration to its table, in a run folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pandas as pd
import scipy

from leanline import tuning
from leanline.errors import RunError
from leanline.experiments.tune_bench.config import (
    TuneBenchConfig,
    contestants,
    read_spaces,
    settings_of,
    space_files,
)
from leanline.experiments.tune_bench.facts import space_facts
from leanline.records.atomic import atomic_write, write_text
from leanline.records.cluster import Cluster
from leanline.records.configuration import canonical, plain
from leanline.records.run import RunFolder
from leanline.types import PathLike
from leanline.version import __version__

COMMAND = "tune-bench"
RESULTS, SETTINGS, CELLS = "results.parquet", "tune-bench.json", "cells"
"""The table, a row a run; the resolved configuration and what is known of the spaces, as of the
last call; the rows of each optimiser, space and budget that are done."""


def run_tune_bench(
    config: TuneBenchConfig,
    out: PathLike,
    cluster: Cluster | None = None,
    resume: bool = True,
    about: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Make all runs that are not there yet, and put all into one table.

    The folder may be given again with other spaces, optimisers or budgets: what is there is taken.
    Runs of another protocol, seed, kind of times or number of runs belong into another folder.

    Args:
        config: What is run.
        out: Its folder.
        cluster: Who does it; None is this process.
        resume: Whether to go on with what the folder holds.
        about: What else to note beside the configuration, such as the command.

    Returns:
        See `leanline.tuning.benchmark`.

    Raises:
        ConfigError: There is no such optimiser or space, or a setting is wrong.
        DataError: The file of a space cannot be used.
        RunError: The folder belongs to another benchmark, or cannot be written; or the cluster
            cannot be had.
    """
    folder = Path(out).absolute()
    chosen = contestants(config.optimisers)
    replays = read_spaces(space_files(config.spaces), config.times)
    if not resume and (folder / SETTINGS).exists():
        raise RunError(f"{folder} already holds a benchmark; resume it, or choose another folder")
    fixed = {
        "command": COMMAND,
        "protocol": config.protocol,
        "times": config.times,
        "seed": config.seed,
        "runs": config.runs,
    }
    with RunFolder.open(folder, fixed):
        settings = {
            "config": {**asdict(config), "optimisers": list(chosen)},
            "settings": {name: settings_of(each, config.budgets) for name, each in chosen.items()},
            "spaces": [space_facts(file, replay) for file, replay in replays.items()],
            "versions": _versions(),
            **(about or {}),
        }
        write_text(folder / SETTINGS, canonical(plain(settings), indent=2) + "\n")
        table = tuning.benchmark(
            chosen,
            list(replays.values()),
            budgets=config.budgets,
            runs=config.runs,
            seed=config.seed,
            protocol=config.protocol,
            out=folder / CELLS,
            cluster=cluster,
        )
        with atomic_write(folder / RESULTS) as temporary:
            table.to_parquet(temporary, index=False)
    return table


def _versions() -> dict[str, str]:
    return {
        "leanline": __version__,
        "numpy": np.__version__,
        "scipy": str(scipy.__version__),
        "numba": str(numba.__version__),
    }


def read_tune_bench(folder: PathLike) -> tuple[dict[str, Any], pd.DataFrame]:
    """What a folder of `run_tune_bench` holds.

    Returns:
        The settings as plain values, with the keys config, settings, spaces and versions; and the
        table, empty if the benchmark is not finished.

    Raises:
        RunError: It is no such folder, or something in it is damaged.
    """
    path = Path(folder).absolute()
    try:
        settings = dict(json.loads((path / SETTINGS).read_text(encoding="utf-8")))
        missing = {"config", "settings", "spaces", "versions"} - settings.keys()
        if missing:
            raise RunError(f"{path / SETTINGS} is damaged: it has no {sorted(missing)[0]!r}")
        if not (path / RESULTS).is_file():
            return settings, pd.DataFrame()
        return settings, pd.read_parquet(path / RESULTS)
    except (OSError, ValueError) as error:  # Arrow's errors are ValueErrors or OSErrors
        raise RunError(f"{path} cannot be read: {error}") from error
