"""`leanline bench`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from leanline.cli import options
from leanline.cli.session import session
from leanline.cli.shapes import sized


def bench(
    folder: Annotated[Path, typer.Argument(help="A folder of `leanline prune`.")],
    size: Annotated[
        str | None,
        typer.Option(
            metavar="HEIGHTxWIDTH", help="Size of the pictures; by default that of the run."
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Pictures in a call.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Threads.")] = 1,
    seconds: Annotated[float, typer.Option(min=0, help="How long to measure.")] = 5.0,
    onnx: Annotated[
        bool, typer.Option(help="Time ONNX Runtime too (needs leanline[onnx]).")
    ] = True,
    tune: Annotated[
        str | None,
        typer.Option(
            metavar="quick|thorough|N",
            help="Time the kernels on a tuned plan too; a number: of configurations to measure.",
        ),
    ] = None,
    model: options.Confirm = None,
    as_json: options.Json = False,
    progress: options.Progress = True,
    debug: options.Debug = False,
) -> None:
    """Time the dense network against the pruned one, in turn, on this machine.

    In PyTorch, in ONNX Runtime and on leanline's kernels, all with the same threads.

    Times are medians with quartiles; speed-ups are medians of the rounds' ratios.
    """
    with session(as_json, progress, debug) as running:
        import torch

        from leanline import compaction
        from leanline.cli.folders import input_shape_of, pruned_of, read_run
        from leanline.experiments.evidence import Measuring, machine, time_networks
        from leanline.runtime.tuned import check_budget

        budget = check_budget(int(tune) if tune and tune.isdecimal() else tune)
        run = read_run(folder, "prune")
        shape = (batch, *sized(input_shape_of(run), size)[1:])
        dense, pruned = pruned_of(run, model)
        example = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        small = compaction.compact(pruned, example)
        measuring = Measuring(
            seconds=seconds, threads=threads, batch=batch, onnx=onnx, tune=budget or None
        )
        timing = time_networks(dense, pruned, small, example, measuring)
        running.result(
            {"command": "bench", "folder": folder, "machine": machine(), "timing": timing},
            _text(timing, machine()),
        )


def _text(timing: dict[str, Any], machine: str) -> str:
    width = max(len(row["name"]) for row in timing["rows"])
    lines = [f"{'':{width}}  {'median':>12}  {'quartiles':>20}  {'speed-up':>9}  {'quartiles':>17}"]
    for row in timing["rows"]:
        spread = f"{row['low']:.3f} .. {row['high']:.3f}"
        ratios = f"{row['speedup_low']:.2f} .. {row['speedup_high']:.2f}"
        lines.append(
            f"{row['name']:{width}}  {row['median']:9.3f} ms  {spread:>17} ms  "
            f"{row['speedup']:8.2f}x  {ratios:>17}"
        )
    lines += [f"{name}: not timed: {why}" for name, why in timing.get("missing", {}).items()]
    shape = " x ".join(str(n) for n in timing["shape"])
    lines.append(
        f"{shape} float32, {timing['threads']} thread(s), {timing['rounds']} rounds in turn, "
        f"{machine}"
    )
    return "\n".join(lines)
