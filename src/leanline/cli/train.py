"""`leanline train`."""

import enum
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from leanline.cli import options
from leanline.cli.session import run_log, session
from leanline.cli.text import metrics


class LearningRateSchedule(str, enum.Enum):
    """How the step size changes; see `TrainingConfig`."""

    constant = "constant"
    cosine = "cosine"


def train(
    model: Annotated[str, typer.Argument(help=options.NAMES)],
    data: options.NeededData,
    out: options.Out,
    settings: options.Settings = None,
    data_settings: options.DataSettings = None,
    iterations: Annotated[int, typer.Option(min=1, help="Steps of Adam.")] = 1000,
    batch_size: options.BatchSize = None,
    lr: options.LearningRate = None,
    lr_schedule: Annotated[
        LearningRateSchedule, typer.Option(help="Step size: constant, or falling as a cosine.")
    ] = LearningRateSchedule.constant,
    every: Annotated[
        int, typer.Option(min=1, help="Steps between evaluations, each with a checkpoint.")
    ] = 200,
    pictures: options.Pictures = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Of the initial values and the order of the pictures.")
    ] = 0,
    accelerator: Annotated[str, typer.Option(help="cpu, cuda or mps.")] = "cpu",
    threads: options.Threads = None,
    resume: options.Resume = True,
    as_json: options.Json = False,
    progress: options.Progress = True,
    debug: options.Debug = False,
) -> None:
    """Train a network; the run folder then holds the weights that were best on validation.

    Example: leanline train msd --data folder:cement --set depth=30 --iterations 2000
    --out runs/dense
    """
    with session(as_json, progress, debug, threads) as running:
        from leanline.cli.evidence import add_training_evidence
        from leanline.experiments.choices import (
            check_fit,
            choose_data,
            choose_network,
            forward_on_kernels,
            read_settings,
        )
        from leanline.training import Checkpointing, TrainingConfig
        from leanline.training import train as train_into

        config = TrainingConfig(
            iterations=iterations,
            **_given(batch_size=batch_size, lr=lr),
            lr_schedule=lr_schedule.value,
            seed=seed,
            accelerator=accelerator,
        )
        chosen = choose_data(data, read_settings(data_settings, "--set-data"))
        choice = choose_network(model, read_settings(settings, "--set"), chosen, seed)
        network = choice.make()
        check_fit(network, model, chosen)
        about = {"model": choice.about, "data": chosen.about, "input_shape": chosen.input_shape}
        with run_log(running, out, resume):
            rows = train_into(
                network,
                chosen.dataset,
                out,
                config,
                Checkpointing(every, pictures),
                about,
                forward_on_kernels(chosen, accelerator),
                resume,
            )
            evidence = add_training_evidence(out, network.cpu(), chosen.dataset, rows)
        best = [row for row in rows if row.get("best")][-1]
        shown = {key: value for key, value in best.items() if key.startswith("val_")}
        running.result(
            {
                "command": "train",
                "out": out,
                "iterations": rows[-1]["step"],
                "best": _without_checksums(best),
                "test": evidence.get("trained"),
                "seconds": sum(float(row["seconds"] or 0) for row in rows),
            },
            f"{out}: best at step {best['step']} of {rows[-1]['step']}\n"
            f"  validation  {metrics({k.removeprefix('val_'): v for k, v in shown.items()})}\n"
            f"  test        {metrics(evidence.get('trained', {}))}\n"
            f"next: {_next(out)}{choice.allowing}",
        )


def _next(out: Path) -> str:
    folders = shlex.quote(str(out)), shlex.quote(str(out.with_name(f"{out.name}-lean")))
    return f"leanline prune {folders[0]} --keep 0.1 --out {folders[1]}"


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _without_checksums(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if not key.startswith("sha256.")}
