"""`leanline tune`."""

import enum
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leanline.cli import options
from leanline.cli.session import session
from leanline.cli.text import number, table

if TYPE_CHECKING:
    from leanline.tuning.tuned import Tuned


class TuneProtocol(str, enum.Enum):
    """What may be evaluated, and what it costs."""

    valid = "valid"
    paper = "paper"


class TuneBackend(str, enum.Enum):
    """What a kernel of leanline's is written in."""

    opencl = "opencl"


def tune(
    kernel: Annotated[
        str,
        typer.Argument(
            help="convolution, gemm, point-in-polygon, or package.module:factory for your own "
            "(runs that code).",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="The folder of what is measured; it may have some already."
        ),
    ],
    backend: Annotated[
        TuneBackend | None,
        typer.Option(help="For leanline's kernels; your own say it themselves."),
    ] = None,
    algorithm: Annotated[
        str,
        typer.Option(
            help="Such as first-ils, genetic-algorithm, random-sampling; or brute-force, which "
            "measures every configuration."
        ),
    ] = "first-ils",
    budget: Annotated[
        int | None,
        typer.Option(
            min=1, help="Configurations to measure: 100, or with brute-force all, by default."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="A size, such as width=512; repeat for more."
        ),
    ] = None,
    values: Annotated[
        list[str] | None,
        typer.Option(
            "--values",
            metavar="NAME=V,V,...",
            help="Values that a parameter may have, fewer than it has by itself; repeat for more.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the search.")] = 0,
    protocol: Annotated[
        TuneProtocol,
        typer.Option(
            help="valid: what breaks a constraint is never tried. paper: it costs an evaluation."
        ),
    ] = TuneProtocol.valid,
    platform: Annotated[int, typer.Option(min=0, help="Number of the OpenCL platform.")] = 0,
    device: Annotated[int, typer.Option(min=0, help="Number of the device.")] = 0,
    seconds: Annotated[
        float, typer.Option(min=0.01, help="Time for repeating one configuration, at most.")
    ] = 1.0,
    time_out: Annotated[
        float, typer.Option(min=0.01, help="Seconds that one run, or compilation, may take.")
    ] = 60.0,
    as_json: options.Json = False,
    progress: options.Progress = True,
    debug: options.Debug = False,
) -> None:
    """Find the fastest configuration of a kernel on this machine's device.

    Every configuration is compiled, checked against a reference and timed in a process of its own.
    What is measured is kept in the folder, also as files that `leanline tune-bench` replays.

    Example: leanline tune convolution --set width=512 --set height=512 --budget 50 --out run

    It may be stopped or killed at any moment; the same command goes on.
    """
    with session(as_json, progress, debug) as running:
        from leanline.errors import ConfigError
        from leanline.experiments.choices import read_settings
        from leanline.tuning.kernels.registry import KernelChoice, read_values
        from leanline.tuning.measuring.gpu_kernels import Device
        from leanline.tuning.measuring.timing import TimingPolicy
        from leanline.tuning.optimisers.named import optimiser_class, optimiser_named
        from leanline.tuning.paper_spaces import PAPER_SPACES, paper_space
        from leanline.tuning.tuned import tune as tune_kernel

        if backend is not None and ":" in kernel:
            raise ConfigError(f"--backend is for leanline's kernels; {kernel} says its own")
        policy = TimingPolicy(seconds=seconds, compile_limit=time_out, run_limit=time_out)
        choice = KernelChoice(
            kernel,
            read_settings(settings, "--set"),
            device=Device(device, platform),
            policy=policy,
        )
        listed = read_settings(values, "--values")
        if listed and kernel in PAPER_SPACES:
            space = paper_space(kernel)
            kept = {name: read_values(space, name, text) for name, text in listed.items()}
            choice = replace(choice, values=kept)
        elif listed:
            raise ConfigError(f"--values is for leanline's kernels; {kernel} has its own lists")
        searched = optimiser_class(algorithm)  # before a reference is computed, which takes long
        made, resolved = choice.make()
        everything = searched.__name__ == "BruteForce"
        count = budget or (len(made.space.valid_codes()) if everything else 100)
        optimiser = optimiser_named(algorithm, count)
        running.resumable = out
        tuned = tune_kernel(
            made,
            optimiser,
            out,
            budget=count,
            seed=seed,
            protocol=protocol.value,
            settings=resolved,
        )
        running.result(_values(tuned, kernel, optimiser.name, count), _text(tuned))


def _values(tuned: "Tuned", kernel: str, algorithm: str, budget: int) -> dict[str, Any]:
    from leanline.tuning.tuned import FILES

    trace = tuned.trace
    leaders = [
        {
            "configuration": trace.space.decode(code),
            "median_ms": each.median,
            "quartiles_ms": each.quartiles,
            "interval_ms": each.interval,
            "runs": each.runs,
        }
        for code, each in trace.spreads.items()
    ]
    return {
        "command": "tune",
        "kernel": kernel,
        "algorithm": algorithm,
        "budget": budget,
        "device": tuned.about.get("device", ""),
        "about": dict(tuned.about),
        "evaluations": trace.evaluations,
        "ended": trace.ended,
        "best_configuration": trace.best_config,
        "best_ms": trace.best_time,
        "leaders": leaders,
        "failures": dict(tuned.failures),
        "failure_details": dict(tuned.details),
        "measured_in_folder": len(tuned.measurements.codes),
        "files": [tuned.folder / name for name in FILES if (tuned.folder / name).exists()],
    }


def _text(tuned: "Tuned") -> str:
    trace = tuned.trace
    failed = sum(tuned.failures.values())
    lines = [
        f"{trace.evaluations} of {len(trace.space.valid_codes()):,} configurations on "
        f"{tuned.about.get('device') or 'this machine'}; {failed} failed; {trace.ended}"
    ]
    for reason, count in tuned.failures.items():
        lines.append(f"  {reason}: {count} ({_gist(tuned.details[reason])})")
    rows: list[dict[str, Any]] = []
    for code, each in trace.spreads.items():
        low, high = each.quartiles
        row = {"median ms": each.median, "quartiles": f"{number(low)} .. {number(high)}"}
        rows.append({**row, **trace.space.decode(code)})
    if rows:
        runs = next(iter(trace.spreads.values())).runs
        lines += [f"the fastest, measured again in turn, {runs} runs each:"]
        lines += [table(rows, list(rows[0]))]
    elif math.isfinite(trace.best_time):
        best = ", ".join(f"{name}={value}" for name, value in (trace.best_config or {}).items())
        lines.append(f"{number(trace.best_time)} ms: {best}")
    known = tuned.measurements
    earlier = int(known.codes[known.times.argmin()])
    if known.best_time < trace.best_time and earlier not in trace.codes:
        said = ", ".join(f"{name}={value}" for name, value in trace.space.decode(earlier).items())
        lines.append(
            f"another search into this folder measured less: {number(known.best_time)} ms, {said}"
        )
    lines.append(f"all measurements: {tuned.folder / 'space.parquet'}")
    return "\n".join(lines)


def _gist(detail: str) -> str:
    """What a terminal shows of a failure: of a compiler's output, from its first error on."""
    at = detail.find(" error: ")
    said = detail if at < 0 else detail[at + 1 :]
    return said if len(said) <= 200 else said[:200] + " ..."
