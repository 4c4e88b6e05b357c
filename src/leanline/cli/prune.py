"""`leanline prune`."""

import copy
import enum
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leanline.cli import options
from leanline.cli.session import run_log, session
from leanline.cli.text import metrics, number, table

if TYPE_CHECKING:
    from leanline.pruning import Outcome

_GOAL = "Goal"


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
        float | None,
        typer.Option(
            help="Fraction of the filters that remain, above 0 and at most 1; by default 0.1, or "
            "0.01 with a goal.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Stages, each pruning and retraining; by default 10, or 20 with a goal.",
            show_default=False,
        ),
    ] = None,
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
    until_speedup: Annotated[
        float | None,
        typer.Option(
            metavar="TIMES",
            help="Stop when the compiled network is so many times as fast as the unpruned one in "
            "PyTorch, measured after each stage on one thread.",
            rich_help_panel=_GOAL,
        ),
    ] = None,
    until_filters: Annotated[
        int | None,
        typer.Option(
            metavar="COUNT", help="Stop when so few filters are alive.", rich_help_panel=_GOAL
        ),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            metavar="DROP",
            help="Stop when --metric, on validation pictures, has become worse by more than this "
            "(0.02 is two points of accuracy), and deliver the last stage that has not.",
            rich_help_panel=_GOAL,
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="What --max-drop is about: accuracy (by default), miou or f1; psnr (by default) "
            "or ssim for denoising; or loss.",
            rich_help_panel=_GOAL,
        ),
    ] = None,
    patience: Annotated[
        int,
        typer.Option(
            min=1,
            help="Stages in a row that may exceed --max-drop before it ends.",
            rich_help_panel=_GOAL,
        ),
    ] = 1,
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
    batch_norm_batches: Annotated[
        int,
        typer.Option(
            min=0,
            help="Training batches on which running means and variances are measured anew after "
            "each selection; 0: they follow with retraining.",
        ),
    ] = 8,
    pictures: options.Pictures = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the order of the pictures.")] = 0,
    threads: options.Threads = None,
    resume: options.Resume = True,
    as_json: options.Json = False,
    progress: options.Progress = True,
    debug: options.Debug = False,
) -> None:
    """Prune a trained network in stages, with retraining after each, and measure what it brings.

    With a goal it stops when all that is asked for is reached, or a limit is broken, and delivers
    the best stage.

    Example: leanline prune runs/dense --keep 0.05 --steps 12 --out runs/lean

    Until 10 times faster, at most 2 points worse: leanline prune runs/dense --until-speedup 10
    --max-drop 0.02 --out runs/fast
    """
    with session(as_json, progress, debug, threads) as running:
        from leanline import pruning
        from leanline.cli.evidence import add_pruning_evidence, row
        from leanline.cli.goals import AskedGoal
        from leanline.cli.sources import Asked, open_source
        from leanline.experiments.choices import check_fit, choose_criterion, forward_on_kernels
        from leanline.training import Retrain

        wanted = AskedGoal(until_speedup, until_filters, max_drop, metric, patience)
        schedule = wanted.schedule(keep, steps)
        rule = choose_criterion(criterion.value, criterion_settings, seed)
        asked = Asked(source, model, weights, settings, data, data_settings, seed)
        origin = open_source(asked)
        goal = wanted.goal(origin.data.dataset.task)
        config = origin.retraining(iterations, batch_size, lr, seed)
        check_fit(origin.network, origin.choice.name, origin.data)
        retrain = Retrain(
            origin.data.dataset,
            config,
            pictures=pictures,
            forward=forward_on_kernels(origin.data),
            batch_norm_batches=batch_norm_batches,
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
                    goal,
                )
            )
            rows = [row(stage) for stage in stages]
            evidence = add_pruning_evidence(out, origin.network, network, origin.data.dataset, rows)
        outcome = None if goal is None else goal.outcome(stages)
        running.result(
            {
                "command": "prune",
                "out": out,
                "stages": rows,
                **({} if outcome is None else {"outcome": asdict(outcome)}),
                **{
                    key: evidence[key]
                    for key in ("dense", "pruned", "network", "deviation", "timing")
                    if key in evidence
                },
            },
            _text(out, rows, evidence, origin.choice.allowing, outcome),
        )


def _text(
    out: Path,
    rows: list[dict[str, Any]],
    evidence: dict[str, Any],
    allowing: str,
    outcome: "Outcome | None",
) -> str:
    lines = [table(rows, list(rows[-1])), ""]
    if outcome is not None:
        what = f"stage {outcome.deliver}" if outcome.deliver else "the unpruned network"
        lines.append(f"delivered: {what} ({outcome.reason})")
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
