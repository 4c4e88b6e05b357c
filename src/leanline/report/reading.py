"""Reads run folders, finished or not, into the data that a report is made of."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from leanline.errors import RunError
from leanline.records.run import CONFIG, RunFolder
from leanline.report.data import GoalReached, Kind, Report, Run, Stage
from leanline.report.evidence import read_figures, read_tensors
from leanline.types import PathLike, Scalar

_COMMANDS: Mapping[Any, Kind] = {
    "train": "train",
    "prune": "prune",
    "demo": "comparison",
    "comparison": "comparison",
}
"""What kind of folder a command makes."""

_METRIC = {"train": "val_", "prune": "metric."}
"""What the columns of metrics begin with."""

_RULES = {
    "Lean": "LEAN",
    "Magnitude": "Magnitude",
    "OperatorNorm": "Operator norm",
    "GeometricMedian": "Geometric median",
    "SoftFilter": "Soft filter",
    "Random": "Random",
}


def read(folder: PathLike) -> Report:
    """Read a train, prune or comparison folder, finished or not, without changing it.

    Raises:
        RunError: It is no such folder, or something in it is damaged.
        CheckpointError: The tensors of its evidence are damaged.
    """
    path = Path(folder).absolute()
    outer = RunFolder.read(path)
    kind = _kind(outer)
    if kind == "comparison":
        runs = [run for run in map(_read_run, _run_folders(path)) if run.kind == "prune"]
        ordered = sorted(runs, key=lambda run: (run.label != _RULES["Lean"], run.folder.name))
        there = {run.folder.name for run in runs}
        wanted = outer.config.get("rules", ())
        names = [str(name) for name in wanted] if isinstance(wanted, Sequence) else []
        expected = tuple(name for name in names if name not in there)
        return Report(path, kind, outer.config, outer.versions, _distinct(ordered), expected)
    return Report(path, kind, outer.config, outer.versions, (_read_run(path),))


def _read_run(folder: Path) -> Run:
    run = RunFolder.read(folder)
    kind = _kind(run)
    tensors = read_tensors(folder)
    return Run(
        folder=folder,
        kind=kind,
        label=_rule(run.config) if kind == "prune" else "Trained",
        config=run.config,
        versions=run.versions,
        stages=_stages(run, kind) if kind != "comparison" else (),
        planned=_planned(run.config, kind),
        evidence=read_figures(folder),
        pictures=tensors.pictures,
        adjacency=tensors.adjacency,
        goal=_goal(run),
    )


def _kind(run: RunFolder) -> Kind:
    command = run.config.get("command")
    if command in _COMMANDS:
        return _COMMANDS[command]
    columns = {name for row in run.stages for name in row}
    if {"stage", "kept_filters"} <= columns:
        return "prune"
    if {"step", "train_loss"} <= columns:
        return "train"
    if _run_folders(run.path):
        return "comparison"
    raise RunError(
        f"{run.path} holds a run of {command!r}, which has no report: give a folder of train, "
        "prune or demo"
    )


def _run_folders(folder: Path) -> list[Path]:
    return sorted(entry.parent for entry in folder.glob(f"*/{CONFIG}") if entry.is_file())


def _stages(run: RunFolder, kind: Literal["train", "prune"]) -> tuple[Stage, ...]:
    try:
        return tuple(_stage(row, kind) for row in run.stages)
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{run.path}: its rows are not those of a {kind} folder: {type(error).__name__}: "
            f"{error}"
        ) from error


def _goal(run: RunFolder) -> GoalReached | None:
    row = run.stages[-1] if run.stages else {}
    if "deliver" not in row:
        return None
    return GoalReached(
        int(row["deliver"] or 0), bool(row.get("finished")), str(row.get("reason") or "")
    )


def _stage(row: Mapping[str, Scalar], kind: Literal["train", "prune"]) -> Stage:
    prefix = _METRIC[kind]
    metrics = {
        name.removeprefix(prefix): float(value)
        for name, value in row.items()
        if name.startswith(prefix) and isinstance(value, int | float)
    }
    seconds = float(row.get("seconds") or 0.0)
    if kind == "train":
        return Stage(
            int(row["step"] or 0),
            metrics,
            seconds,
            train_loss=_number(row.get("train_loss")),
            best=bool(row.get("best")),
        )
    loss = metrics.pop("train_loss", None)
    return Stage(
        int(row["stage"] or 0),
        metrics,
        seconds,
        keep=_number(row.get("keep")),
        kept=int(row["kept_filters"] or 0),
        train_loss=loss,
    )


def _number(value: Scalar) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _planned(config: Mapping[str, Any], kind: Kind) -> int | None:
    section, name = ("training", "iterations") if kind == "train" else ("schedule", "steps")
    found = config.get(section)
    planned = found.get(name) if isinstance(found, Mapping) else None
    return planned if isinstance(planned, int) else None


def _rule(config: Mapping[str, Any]) -> str:
    found = config.get("criterion")
    name = found.get("name") if isinstance(found, Mapping) else found
    text = name if isinstance(name, str) else json.dumps(name)
    return _RULES.get(text, text) if name else "Pruned"


def _distinct(runs: list[Run]) -> tuple[Run, ...]:
    """Give runs by the same rule the names of their folders as well."""
    times = Counter(run.label for run in runs)
    return tuple(
        run if times[run.label] == 1 else replace(run, label=f"{run.label} ({run.folder.name})")
        for run in runs
    )
