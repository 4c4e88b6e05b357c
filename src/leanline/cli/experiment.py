"""`leanline experiment`."""

import enum
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from leanline.cli import options
from leanline.cli.session import Session, command_line, run_log, session
from leanline.cli.text import table


class Scale(str, enum.Enum):
    """How large an experiment is."""

    small = "small"
    full = "full"


def experiment(
    name: Annotated[
        str | None,
        typer.Argument(
            help="An experiment of --list, or a TOML file of your own.", show_default=False
        ),
    ] = None,
    scale: Annotated[
        Scale, typer.Option(help="small: two cores, under an hour. full: the thesis's sizes.")
    ] = Scale.small,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The folder; by default runs/NAME-SCALE."),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change the configuration, such as data.camvid.name=camvid:DIR; repeat for more.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Processes, by default one a core; 1 is this process. On Slurm, jobs."
        ),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Workers of a Dask scheduler that see the same files; or slurm, for jobs as "
            "Dask's configuration says.",
        ),
    ] = None,
    show_list: Annotated[
        bool, typer.Option("--list", help="Show which experiments there are.")
    ] = False,
    resume: options.Resume = True,
    as_json: options.Json = False,
    progress: options.Progress = True,
    debug: options.Debug = False,
) -> None:
    """Repeat an experiment of the thesis, or one of your own: networks x data x rules x seeds.

    Example: leanline experiment circle-square --scale small --out runs/circle-square

    It may be stopped or killed at any moment; the same command goes on.
    """
    with session(as_json, progress, debug) as running:
        from leanline.errors import ConfigError
        from leanline.experiments import library
        from leanline.experiments.results import FILE
        from leanline.experiments.run import run_experiment
        from leanline.report.experiment import build_experiment

        if show_list:
            scales = {each: ", ".join(library.scales(each)) for each in library.names()}
            _list(running, library.titles(), scales)
            return
        if name is None:
            raise ConfigError(f"give an experiment: {', '.join(library.names())}, or a TOML file")
        config = library.load(name, scale.value, changes or ())
        label = Path(name).stem if name.endswith(".toml") else name
        folder = out or Path("runs") / f"{label}-{scale.value}"
        with run_log(running, folder, resume):
            outcome = run_experiment(
                config,
                folder,
                f"{label}, {scale.value}",
                _cluster(workers, cluster, config.threads),
                resume,
                {"command": command_line()},
            )
        report = build_experiment(folder)
        failed = {key: str(error) for key, error in outcome.failures.items()}
        values: dict[str, Any] = {
            "command": "experiment",
            "experiment": label,
            "scale": scale.value,
            "out": folder,
            "cells": len(outcome.sweep.cells),
            "failed": failed,
            "results": folder / FILE,
            "report": report,
        }
        lines = [f"{key} failed: {problem}" for key, problem in failed.items()]
        running.result(values, "\n".join([*lines, f"report: {report}"]))
        if failed:
            raise typer.Exit(1)


def _cluster(workers: int | None, address: str | None, threads: int) -> Any:
    """Who does the work; None is this process."""
    from leanline.records.cluster import Cluster

    if address is not None:
        return Cluster(workers, address)
    count = workers or max(1, (os.cpu_count() or 1) // threads)
    return None if count == 1 else Cluster(count)


def _list(running: Session, titles: dict[str, tuple[str, str]], scales: dict[str, str]) -> None:
    rows = [
        {"experiment": name, "shows": title, "in the thesis": thesis, "scales": scales[name]}
        for name, (title, thesis) in titles.items()
    ]
    running.result({"command": "experiment", "experiments": rows}, table(rows, list(rows[0])))
