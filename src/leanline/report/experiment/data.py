"""What a folder of `leanline experiment` holds, as plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from leanline.errors import ConfigError, RunError
from leanline.experiments.results import DENSE, FILE, read_results
from leanline.experiments.run import NETWORKS, SETTINGS
from leanline.report.metrics import Metric, main_metric, metric_named
from leanline.types import PathLike

_LABELS = {"lean": "LEAN", DENSE: "Unpruned"}


def rule_label(name: str) -> str:
    """How a rule is called in text."""
    return _LABELS.get(name, name.replace("-", " "))


@dataclass(frozen=True, eq=False)
class Experiment:
    """An experiment, finished or not.

    Attributes:
        folder: where it is.
        name: its name and scale.
        config: its configuration as plain values.
        command: how it was called.
        results: see `leanline.experiments.results.collect`; empty where nothing was pruned.
        networks: rows of Table 4.1, empty without that part.
    """

    folder: Path
    name: str
    config: Mapping[str, Any]
    command: str
    results: pd.DataFrame
    networks: tuple[Mapping[str, Any], ...] = ()

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Networks and data sets that have results, in the order of the configuration."""
        if not len(self.results):
            return ()
        found = set(zip(self.results["network"], self.results["data"], strict=True))
        wanted = [(n, d) for d in self.config["data"] for n in self.config["networks"]]
        return tuple(pair for pair in wanted if pair in found)

    @property
    def reference(self) -> str:
        """The rule that the others are compared with."""
        return str(self.config["reference"])

    def of_pair(self, pair: tuple[str, str]) -> pd.DataFrame:
        """The results of a network on a data set."""
        table = self.results
        return table[(table["network"] == pair[0]) & (table["data"] == pair[1])]

    def rules(self, pair: tuple[str, str]) -> tuple[str, ...]:
        """The rules that have results, the reference first, the others as configured."""
        network = self.config["networks"][pair[0]]
        wanted = network.get("criteria") or self.config["criteria"]
        order = sorted(wanted, key=lambda name: name != self.reference)
        found = set(self.of_pair(pair)["criterion"])
        return tuple(name for name in order if name in found)

    def metric(self, pair: tuple[str, str]) -> Metric:
        """What results on a data set are compared by.

        Raises:
            ConfigError: the configuration names a metric that the results do not have.
        """
        columns = self.of_pair(pair).dropna(axis="columns", how="all").columns
        names = [name.removeprefix("val_") for name in columns if name.startswith("val_")]
        named = self.config["data"][pair[1]].get("metric")
        if named and names and named not in names:
            raise ConfigError(
                f"data.{pair[1]}.metric is {named!r}, and the results have {', '.join(names)}"
            )
        if named:
            return metric_named(str(named))
        return main_metric(names, two_classes=False) or metric_named("loss")

    def expected(self) -> int:
        """How many stages the configuration has in all."""
        return sum(
            int(network["schedule"]["steps"])
            * len(self.config["seeds"])
            * len(
                network["criteria"] if network["criteria"] is not None else self.config["criteria"]
            )
            for network in self.config["networks"].values()
            for _ in self.config["data"]
        )


def read_experiment(folder: PathLike) -> Experiment:
    """Read the folder of an experiment.

    Raises:
        RunError: it is none, or something in it is damaged.
    """
    path = Path(folder).absolute()
    settings = _json(path / SETTINGS)
    networks = _json(path / NETWORKS)["networks"] if (path / NETWORKS).is_file() else []
    results = read_results(path) if (path / FILE).is_file() else pd.DataFrame()
    try:
        return Experiment(
            path,
            str(settings["name"]),
            dict(settings["config"]),
            str(settings.get("command", "")),
            results,
            tuple(networks),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path / SETTINGS} is damaged: {error!r}") from error


def _json(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise RunError(f"{file} cannot be read: {error}") from error
