"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

_OUTPUT = "Output"

Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object, for machines.", rich_help_panel=_OUTPUT),
]
Progress = Annotated[
    bool,
    typer.Option(help="Show progress bars, where there is a terminal.", rich_help_panel=_OUTPUT),
]
Debug = Annotated[
    bool,
    typer.Option("--debug", help="Show where in the code an error arose.", rich_help_panel=_OUTPUT),
]
Resume = Annotated[
    bool, typer.Option(help="Go on with what the run folder holds, or refuse a begun one.")
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Threads; by default as many as there are cores.")
]
Out = Annotated[Path, typer.Option("--out", "-o", help="The run folder.", show_default=False)]
_DATA = (  # words short enough for the narrow column of --help, which cuts longer ones
    "circle-square, dynamic-ct, camvid:DIR, or folder:DIR with train, val and test, each with "
    "images and labels (or clean)."
)
NeededData = Annotated[str, typer.Option("--data", help=_DATA)]
Data = Annotated[
    str | None, typer.Option(help=f"{_DATA} By default what the network was trained on.")
]
NAMES = "msd, unet4, fcn-resnet50, or package.module:factory for your own (runs that code)."
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A setting of the network; repeat for more."),
]
DataSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--set-data", metavar="NAME=VALUE", help="A setting of the data set, such as target=clean."
    ),
]
Confirm = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODULE:FACTORY",
        help="Allow the code that makes a network of your own; the folder alone never runs code.",
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(min=1, help="Pictures a step; by default 5, when pruning as in training."),
]
LearningRate = Annotated[
    float | None,
    typer.Option("--lr", help="Step size; by default 0.001, when pruning as in training."),
]
Pictures = Annotated[
    int | None,
    typer.Option(min=1, help="Judge on the first so many validation pictures; by default on all."),
]
