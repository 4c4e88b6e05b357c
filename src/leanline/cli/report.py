"""`leanline report`."""

from pathlib import Path
from typing import Annotated

import typer

from leanline.cli import options
from leanline.cli.session import session


def report(
    folder: Annotated[
        Path,
        typer.Argument(help="A folder of `train`, `prune`, `demo`, `experiment` or `tune-bench`."),
    ],
    as_json: options.Json = False,
    progress: options.Progress = True,
    debug: options.Debug = False,
) -> None:
    """Write report.html into a run folder: figures, pictures, timings, and what was run.

    Example: leanline report runs/lean
    """
    with session(as_json, progress, debug) as running:
        from leanline.cli.folders import read_run
        from leanline.report import build
        from leanline.report.experiment import build_experiment
        from leanline.report.tune_bench import build_tune_bench

        run = read_run(folder, "train", "prune", "demo", "experiment", "tune-bench")
        builders = {"experiment": build_experiment, "tune-bench": build_tune_bench}
        page = builders.get(run.config["command"], build)(folder)
        running.result({"command": "report", "folder": folder, "report": page}, str(page))
