"""`leanline data check` and `leanline data make`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from leanline.cli import options
from leanline.cli.session import session
from leanline.errors import ConfigError, DataError, RunError

data = typer.Typer(no_args_is_help=True, help="Check a data set, or make one.")

_LISTED = 20


@data.command()
def check(
    name: Annotated[str, typer.Argument(help="folder:DIR, or circle-square.")],
    data_settings: options.DataSettings = None,
    as_json: options.Json = False,
    progress: options.Progress = True,
    debug: options.Debug = False,
) -> None:
    """Read every picture of a data set and say what is wrong with it, or what it holds.

    Example: leanline data check folder:cement
    """
    with session(as_json, progress, debug) as running:
        from leanline.cli.pictures import problems_of
        from leanline.experiments.choices import choose_data, read_settings

        settings = read_settings(data_settings, "--set-data")
        problems = problems_of(name, settings)
        if problems:
            running.result(
                {"command": "data check", "data": name, "problems": problems},
                "\n".join(problems[:_LISTED]),
            )
            more = f", of which {_LISTED} are listed" if len(problems) > _LISTED else ""
            raise DataError(f"{name} has {len(problems)} problem(s){more}")
        about = choose_data(name, settings)
        values = {**about.about, "input_shape": about.input_shape}
        running.result(
            {"command": "data check", "data": name, "problems": [], "found": values},
            _text(name, values),
        )


@data.command()
def make(
    name: Annotated[str, typer.Argument(help="circle-square.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder; new or empty.")],
    train: Annotated[int, typer.Option(min=1, help="Training pictures.")] = 1000,
    val: Annotated[int, typer.Option(min=1, help="Validation pictures.")] = 250,
    test: Annotated[int, typer.Option(min=1, help="Test pictures.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Of the pictures.")] = 0,
    as_json: options.Json = False,
    progress: options.Progress = True,
    debug: options.Debug = False,
) -> None:
    """Write a simulated data set as {train,val,test}/{images,labels}: TIFF and PNG.

    Example: leanline data make circle-square --out cs --train 100 --val 20 --test 20
    """
    with session(as_json, progress, debug) as running:
        from leanline.cli.pictures import write_folder
        from leanline.data import CircleSquare
        from leanline.data.registry import NAMED

        if name not in NAMED:
            raise ConfigError(f"there is no data set {name!r} to make; there is circle-square")
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise RunError(f"{out} exists and is not an empty folder; choose another one")
        dataset = CircleSquare(train, val, test, seed, memory=0)
        write_folder(dataset, out)
        counts = {"train": train, "val": val, "test": test}
        running.result(
            {"command": "data make", "data": name, "out": out, "seed": seed, "pictures": counts},
            f"{sum(counts.values())} pictures in {out}; use them as --data folder:{out}",
        )


def _text(name: str, values: dict[str, Any]) -> str:
    _, channels, height, width = values["input_shape"]
    kind = "classes" if values["task"] == "segmentation" else "channels of the clean pictures"
    counts = ", ".join(f"{count} {split}" for split, count in values["pictures"].items())
    return (
        f"{name} is fine\n"
        f"  task      {values['task']}, {values['out_channels']} {kind}\n"
        f"  pictures  {counts}\n"
        f"  size      {height} x {width} pixels, {channels} channel(s)"
    )
