"""`leanline demo`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from leanline.cli import options
from leanline.cli.session import command_line, run_log, session


def demo(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The folder for all that is made.")
    ] = Path("runs/demo"),
    keep: Annotated[float | None, typer.Option(help="Fraction of the filters that remain.")] = None,
    steps: Annotated[int | None, typer.Option(help="Stages of pruning.")] = None,
    iterations: Annotated[
        int | None,
        typer.Option(min=0, help="Steps of retraining, over the fraction that a stage keeps."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the pictures.")] = None,
    threads: options.Threads = None,
    resume: options.Resume = True,
    as_json: options.Json = False,
    progress: options.Progress = True,
    debug: options.Debug = False,
) -> None:
    """Prune a network that ships with leanline, time it, and write report.html.

    LEAN and the magnitude rule prune the same trained network to the same counts, on pictures
    that are made on the spot. Takes some minutes; Ctrl-C and the same command go on.
    """
    with session(as_json, progress, debug, threads) as running:
        from leanline.experiments.demo import DemoConfig, run_demo
        from leanline.report import build

        given: dict[str, Any] = {
            "keep": keep,
            "steps": steps,
            "iterations": iterations,
            "seed": seed,
            "threads": threads,
        }
        config = DemoConfig(**{name: value for name, value in given.items() if value is not None})
        with run_log(running, out, resume):
            run_demo(config, out, resume, command_line())
        page = build(out)
        running.result({"command": "demo", "out": out, "report": page}, f"report: {page}")
