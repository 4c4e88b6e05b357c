"""`leanline prune`."""

import copy
import enum
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from leanline.cli import options
from leanline.cli.session import run_log, session
from leanline.cli.text import metrics, number, table


class Rule(str, enum.Enum):
    """The criteria by name."""

    lean = "lean"
    magnitude = "magnitude"
    operator_norm = "operator-norm"
    geometric_median = "geometric-median"
    soft_filter = "soft-filter"
    random = "random"


def prune(
    out: options.Out,
    source: Annotated[
        str | None,
        typer.Argument(
            help="A folder of `leanline train`, or pretrained:msd50-circle-square.",
            show_default=False,
        ),
    ] = None,
    keep: Annotated[
        float, typer.Option(help="Fraction of the filters that remain, above 0 and at most 1.")
    ] = 0.1,
    steps: Annotated[int, typer.Option(help="Stages, each pruning and retraining.")] = 10,
    iterations: Annotated[int, typer.Option(min=0, help="Steps of retraining a stage.")] = 150,
    criterion: Annotated[Rule, typer.Option(help="Which filters stay.")] = Rule.lean,
    criterion_settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set-criterion",
            metavar="NAME=VALUE",
            help="A setting of the criterion, such as scope=layer; repeat for more.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help=f"Instead of a folder: {options.NAMES}"),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="With --model: its weights, .safetensors or .pth.")
    ] = None,
    settings: options.Settings = None,
    data: options.Data = None,
    data_settings: options.DataSettings = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(metavar="MODULE", help="A module that is not pruned; repeat for more."),
    ] = None,
    batch_size: options.BatchSize = None,
    lr: options.LearningRate = None,
    pictures: options.Pictures = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the order of the pictures.")] = 0,
    threads: options.Threads = None,
    resume: options.Resume = True,
    as_json: options.Json = False,
    progress: options.Progress = True,
    debug: options.Debug = False,
) -> None:
    """Prune a trained network in stages, with retraining after each, and measure what it brings.

    Example: leanline prune runs/dense --keep 0.05 --steps 12 --out runs/lean
    """
    with session(as_json, progress, debug, threads) as running:
        from leanline import pruning
        from leanline.cli.evidence import add_pruning_evidence, row
        from leanline.cli.sources import Asked, open_source
        from leanline.experiments.choices import check_fit, choose_criterion, forward_on_kernels
        from leanline.training import Retrain

        schedule = pruning.Schedule(keep, steps)
        rule = choose_criterion(criterion.value, criterion_settings, seed)
        asked = Asked(source, model, weights, settings, data, data_settings, seed)
        origin = open_source(asked)
        config = origin.retraining(iterations, batch_size, lr, seed)
        check_fit(origin.network, origin.choice.name, origin.data)
        retrain = Retrain(
            origin.data.dataset,
            config,
            pictures=pictures,
            forward=forward_on_kernels(origin.data),
        )
        network = copy.deepcopy(origin.network)
        with run_log(running, out, resume):
            stages = list(
                pruning.prune(
                    network,
                    origin.data.example(),
                    retrain,
                    rule,
                    schedule,
                    seed,
                    out,
                    resume,
                    ignore or (),
                    origin.about,
                )
            )
            rows = [row(stage) for stage in stages]
            evidence = add_pruning_evidence(out, origin.network, network, origin.data.dataset, rows)
        running.result(
            {
                "command": "prune",
                "out": out,
                "stages": rows,
                **{
                    key: evidence[key]
                    for key in ("dense", "pruned", "network", "deviation", "timing")
                    if key in evidence
                },
            },
            _text(out, rows, evidence, origin.choice.allowing),
        )


def _text(out: Path, rows: list[dict[str, Any]], evidence: dict[str, Any], allowing: str) -> str:
    lines = [table(rows, list(rows[-1])), ""]
    lines += [
        f"test, {name:7s} {metrics(evidence[name])}"
        for name in ("dense", "pruned")
        if name in evidence
    ]
    timing = evidence.get("timing", {}).get("rows", [])
    if timing:
        best = max(timing, key=lambda row: float(row["speedup"]))
        lines.append(
            f"{best['name']}: {number(best['speedup'])} times as fast as {timing[0]['name']}"
        )
    run = shlex.quote(str(out))
    lines.append(
        f"next: leanline report {run}, leanline compact {run} --out net.safetensors{allowing}"
    )
    return "\n".join(lines)
