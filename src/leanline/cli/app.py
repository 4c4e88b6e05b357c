"""The commands, put together."""

from typing import Annotated

import typer

from leanline.cli.apply import apply
from leanline.cli.bench import bench
from leanline.cli.compact import compact
from leanline.cli.data import data
from leanline.cli.demo import demo
from leanline.cli.experiment import experiment
from leanline.cli.graph import graph
from leanline.cli.prune import prune
from leanline.cli.report import report
from leanline.cli.train import train
from leanline.cli.tune import tune
from leanline.cli.tune_bench import tune_bench
from leanline.cli.tune_convert import tune_convert
from leanline.version import __version__

app = typer.Typer(
    name="leanline",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"leanline {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def leanline(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Make imaging pipelines fast: prune a trained network, and get the time back.

    Begin with `leanline demo`. On your own pictures: `data check`, `train`, `prune`, then
    `compact`, `bench` and `report` on the run folder, and `apply` on whole volumes. Whatever takes
    long can be stopped with Ctrl-C; the same command goes on from there.
    """


app.command()(demo)
app.add_typer(data, name="data")
for command in (train, prune, compact, apply, bench, graph, experiment, tune, report):
    app.command()(command)
app.command()(tune_bench)
app.command()(tune_convert)
