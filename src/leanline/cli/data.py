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
    name: Annotated[
        str, typer.Argument(help="folder:DIR, camvid:DIR, circle-square or dynamic-ct.")
    ],
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
    name: Annotated[str, typer.Argument(help="circle-square or dynamic-ct.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder; new or empty.")],
    train: Annotated[
        int | None, typer.Option(min=1, help="Training pictures; of dynamic-ct, sequences.")
    ] = None,
    val: Annotated[int | None, typer.Option(min=1, help="The same for validation.")] = None,
    test: Annotated[int | None, typer.Option(min=1, help="The same for the test.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the pictures.")] = 0,
    data_settings: options.DataSettings = None,
    as_json: options.Json = False,
    progress: options.Progress = True,
    debug: options.Debug = False,
) -> None:
    """Write a simulated data set as {train,val,test}/{images,labels}: TIFF and PNG.

    By default as many pictures as in the thesis.

    Example: leanline data make circle-square --out cs --train 100 --val 20 --test 20

    Example: leanline data make dynamic-ct --out ct --train 40 --val 8 --test 8
    --set-data size=256
    """
    with session(as_json, progress, debug) as running:
        from leanline.cli.pictures import write_folder
        from leanline.data import make as make_data
        from leanline.data.dataset import SPLITS
        from leanline.data.registry import NAMED
        from leanline.experiments.choices import read_settings

        if name not in NAMED:
            raise ConfigError(
                f"there is no data set {name!r} to make; there are {', '.join(NAMED)}"
            )
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise RunError(f"{out} exists and is not an empty folder; choose another one")
        given = {"train": train, "val": val, "test": test, "seed": seed, "memory": 0}
        settings = read_settings(data_settings, "--set-data")
        if twice := sorted(settings.keys() & given.keys()):
            raise ConfigError(f"--set-data {twice[0]}=...: give --{twice[0]} instead")
        known = {key: value for key, value in given.items() if value is not None}
        dataset = make_data(name, **known, **settings)
        write_folder(dataset, out)
        counts = {split: len(dataset.split(split)) for split in SPLITS}
        running.result(
            {"command": "data make", "data": name, "out": out, "seed": seed, "pictures": counts},
            f"{sum(counts.values())} pictures in {out}; use them as --data folder:{out}",
        )


def _text(name: str, values: dict[str, Any]) -> str:
    _, channels, height, width = values["input_shape"]
    kind = "classes" if values["task"] == "segmentation" else "channel(s) of the clean pictures"
    counts = ", ".join(f"{count} {split}" for split, count in values["pictures"].items())
    return (
        f"{name} is fine\n"
        f"  task      {values['task']}, {values['out_channels']} {kind}\n"
        f"  pictures  {counts}\n"
        f"  size      {height} x {width} pixels, {channels} channel(s)"
    )
