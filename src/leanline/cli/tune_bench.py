"""`leanline tune-bench`."""

import enum
from pathlib import Path
from typing import Annotated

import typer

from leanline.cli import options
from leanline.cli.session import command_line, run_log, session
from leanline.cli.text import table as laid_out


class TuningProtocol(str, enum.Enum):
    """What may be evaluated, and what it costs."""

    valid = "valid"
    paper = "paper"


def tune_bench(
    spaces: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Measured spaces: .parquet, caches of Kernel Tuner or T4 results (.json, "
            ".json.gz), or folders of them. By default those that come with leanline.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The run folder.")] = Path(
        "runs/tune-bench"
    ),
    optimisers: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME,...",
            help="Such as FirstILS,GeneticAlgorithm; by default the fourteen of the paper without "
            "SMAC, which takes very long. --list shows all.",
        ),
    ] = None,
    budgets: Annotated[
        str, typer.Option(metavar="N,N,...", help="Numbers of evaluations.")
    ] = "25,50,100,200,400,800,1600",
    runs: Annotated[int, typer.Option(min=1, help="Runs of each.")] = 50,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds, equal results.")] = 0,
    protocol: Annotated[
        TuningProtocol,
        typer.Option(
            help="valid: only what meets the constraints is searched. paper: all is, and what "
            "breaks a constraint costs an evaluation."
        ),
    ] = TuningProtocol.valid,
    noise: Annotated[
        bool,
        typer.Option(
            "--noise", help="An evaluation returns one of the measured times, not their mean."
        ),
    ] = False,
    alpha: Annotated[float, typer.Option(help="Level of significance of the tests.")] = 0.05,
    test_runs: Annotated[
        int | None,
        typer.Option(
            min=2,
            metavar="N",
            help="Runs that the tests of the competition maps are told; by default the true "
            "number. The paper's maps were made with 100.",
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes; more than 1 need leanline[cluster].")
    ] = 1,
    show_list: Annotated[
        bool, typer.Option("--list", help="Show the optimisers, and the spaces of leanline.")
    ] = False,
    resume: options.Resume = True,
    as_json: options.Json = False,
    progress: options.Progress = True,
    debug: options.Debug = False,
) -> None:
    """Find out which optimiser suits which budget, on kernels that were measured before.

    Nothing is compiled or timed: measurements are replayed. Leaves report.html and
    results.parquet, a row a run, in the run folder.

    Example: leanline tune-bench my-kernel.parquet --out runs/my-kernel

    It may be stopped at any moment; the same command goes on.
    """
    with session(as_json, progress, debug) as running:
        from leanline import tuning
        from leanline.experiments.tune_bench import TuneBenchConfig, run_tune_bench
        from leanline.experiments.tune_bench.run import RESULTS
        from leanline.records.cluster import Cluster
        from leanline.report.tune_bench import build_tune_bench
        from leanline.report.tune_bench.page import sentences
        from leanline.tuning.optimisers.named import OPTIMISERS

        if show_list:
            names = [each.__name__ for each in OPTIMISERS]
            own = [each.name for each in tuning.embedded_spaces()]
            text = [f"optimisers: {', '.join(names)}", f"spaces: {', '.join(own) or 'none'}"]
            running.result(
                {"command": "tune-bench", "optimisers": names, "spaces": own}, "\n".join(text)
            )
            return
        settings = {} if optimisers is None else {"optimisers": _words(optimisers)}
        config = TuneBenchConfig(
            spaces=tuple(str(each) for each in spaces or ()),
            budgets=_numbers(budgets),
            runs=runs,
            seed=seed,
            protocol=protocol.value,
            times="drawn" if noise else "mean",
            alpha=alpha,
            test_runs=test_runs,
            **settings,
        )
        with run_log(running, out, resume):
            cluster = None if workers == 1 else Cluster(workers)
            found = run_tune_bench(config, out, cluster, resume, {"command": command_line()})
            report = build_tune_bench(out)
        recommended = tuning.recommend(found, alpha=alpha)
        columns = ["budget", "optimiser", "verdict", "mean", "low", "high", "success", "p"]
        rows = recommended[columns].to_dict("records")
        shown = [row for row in rows if row["verdict"] != "worse"]
        running.result(
            {
                "command": "tune-bench",
                "out": out,
                "runs": len(found),
                "recommendation": rows,
                "results": out / RESULTS,
                "report": report,
            },
            "\n".join([laid_out(shown, columns), *sentences(recommended), f"report: {report}"]),
        )


def _words(given: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in given.split(",") if word.strip())


def _numbers(given: str) -> tuple[int, ...]:
    from leanline.errors import ConfigError

    try:
        return tuple(int(word) for word in _words(given))
    except ValueError:
        raise ConfigError(
            f"--budgets {given}: whole numbers separated by commas are wanted, such as 25,100"
        ) from None
