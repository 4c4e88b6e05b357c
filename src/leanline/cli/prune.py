"""`leanline prune`."""

import copy
import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leanline.cli import options
from leanline.cli.choices import check_fit
from leanline.cli.evidence import add_pruning_evidence
from leanline.cli.session import run_log, session
from leanline.cli.sources import Asked, Source, open_source
from leanline.cli.text import metrics, number, table
from leanline.cli.train import forward_on_kernels

if TYPE_CHECKING:
    from leanline.pruning import Criterion
    from leanline.pruning.prune import Stage
    from leanline.training import TrainingConfig


class Rule(str, enum.Enum):
    """The criteria by name."""

    lean = "lean"
    magnitude = "magnitude"
    operator_norm = "operator-norm"

    def criterion(self) -> "Criterion":
        """The rule itself."""
        from leanline import pruning

        rules: dict[Rule, pruning.Criterion] = {
            Rule.lean: pruning.Lean(),
            Rule.magnitude: pruning.Magnitude(),
            Rule.operator_norm: pruning.OperatorNorm(),
        }
        return rules[self]


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
    model: Annotated[
        str | None,
        typer.Option(help="Instead of a folder: msd, or package.module:factory (runs that code)."),
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
        from leanline.training import Retrain

        schedule = pruning.Schedule(keep, steps)
        asked = Asked(source, model, weights, settings, data, data_settings, seed)
        origin = open_source(asked)
        config = _training(origin, iterations, batch_size, lr, seed)
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
                    criterion.criterion(),
                    schedule,
                    seed,
                    out,
                    resume,
                    ignore or (),
                    origin.about,
                )
            )
            rows = [_row(stage) for stage in stages]
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
            _text(out, rows, evidence),
        )


def _training(
    origin: Source, iterations: int, batch_size: int | None, lr: float | None, seed: int
) -> "TrainingConfig":
    """Settings of retraining; those that were not given are those of the training run."""
    from leanline.training import TrainingConfig

    values: dict[str, Any] = {
        name: origin.training[name] for name in ("batch_size", "lr") if name in origin.training
    }
    given = {"batch_size": batch_size, "lr": lr}
    values |= {name: value for name, value in given.items() if value is not None}
    return TrainingConfig(iterations=iterations, seed=seed, **values)


def _row(stage: "Stage") -> dict[str, Any]:
    return {
        "stage": stage.index,
        "keep": stage.keep,
        "kept_filters": stage.kept_filters,
        **stage.metrics,
        "seconds": stage.seconds,
    }


def _text(out: Path, rows: list[dict[str, Any]], evidence: dict[str, Any]) -> str:
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
    lines.append(f"next: leanline report {out}, leanline compact {out} --out net.safetensors")
    return "\n".join(lines)
