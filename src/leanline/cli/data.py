"""`leanline data check` and `leanline data make`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leanline.cli import options
from leanline.cli.choices import choose_data, read_settings
from leanline.cli.session import session
from leanline.errors import ConfigError, DataError, RunError

if TYPE_CHECKING:
    from torch import Tensor

    from leanline.data import CircleSquare

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
        settings = read_settings(data_settings, "--set-data")
        problems = _problems(name, settings)
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
        from leanline.data import CircleSquare
        from leanline.data.registry import NAMED

        if name not in NAMED:
            raise ConfigError(f"there is no data set {name!r} to make; there is circle-square")
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise RunError(f"{out} exists and is not an empty folder; choose another one")
        dataset = CircleSquare(train, val, test, seed, memory=0)
        _write(dataset, out)
        counts = {"train": train, "val": val, "test": test}
        running.result(
            {"command": "data make", "data": name, "out": out, "seed": seed, "pictures": counts},
            f"{sum(counts.values())} pictures in {out}; use them as --data folder:{out}",
        )


def _problems(name: str, settings: dict[str, str]) -> list[str]:
    """Everything that is wrong with a folder's files; nothing can be with simulated pictures."""
    from leanline.data import check as check_folder
    from leanline.records.settings import call_with_settings

    kind, colon, place = name.partition(":")
    if kind != "folder" or not (colon and place):
        return []
    known: dict[str, Any] = {key: value for key, value in settings.items() if key != "memory"}
    return call_with_settings(check_folder, {**known, "root": place}, f"data set {name!r}")


def _write(dataset: "CircleSquare", out: Path) -> None:
    from leanline.data.dataset import SPLITS
    from leanline.records.progress import bar

    total = sum(len(dataset.split(split)) for split in SPLITS)
    with bar("pictures", total) as report:
        for split in SPLITS:
            pictures = dataset.split(split)
            for kind in ("images", "labels"):
                (out / split / kind).mkdir(parents=True, exist_ok=True)
            for index in range(len(pictures)):
                image, labels = pictures[index]
                _write_pair(out / split, f"{index:05d}", image, labels)
                report.advance()


def _write_pair(folder: Path, stem: str, image: "Tensor", labels: "Tensor") -> None:
    import numpy as np
    import tifffile
    from PIL import Image

    from leanline.records.atomic import atomic_write

    with atomic_write(folder / "images" / f"{stem}.tif") as temporary:
        tifffile.imwrite(temporary, image[0].numpy())
    with atomic_write(folder / "labels" / f"{stem}.png") as temporary:
        Image.fromarray(labels.numpy().astype(np.uint8)).save(temporary)


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
