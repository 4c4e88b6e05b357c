"""`leanline apply`."""

import enum
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from leanline.cli import options
from leanline.cli.session import session
from leanline.errors import ConfigError

_NETWORK = "Network"
_SPEED = "Speed and memory"


class Output(str, enum.Enum):
    """What is written; see `leanline.inference.values.OUTPUTS`."""

    labels = "labels"
    probabilities = "probabilities"
    raw = "raw"
    picture = "picture"
    values = "values"


class Backend(str, enum.Enum):
    """What runs the network; see `leanline.compile`."""

    auto = "auto"
    cpu = "cpu"
    reference = "reference"


def apply(
    net: Annotated[
        str,
        typer.Argument(
            help="A folder of `train` or `prune`, pretrained:NAME, or a file of weights with "
            "--model (such as that of `compact`)."
        ),
    ],
    source: Annotated[
        str,
        typer.Argument(
            metavar="IN",
            help="A folder of pictures, a TIFF stack, store.zarr[/array] or file.h5[:/dataset]; "
            "several volumes as a quoted pattern, 'scans/*.tif'.",
        ),
    ],
    out: Annotated[
        str,
        typer.Argument(
            metavar="OUT",
            help="Where the results go; named as the input (.tif, .zarr, .h5, or a folder). For "
            "several volumes, a folder.",
        ),
    ],
    output: Annotated[
        Output | None,
        typer.Option(
            help="labels: the class of each pixel, uint8 (default for segmentation). "
            "probabilities: of each class, float32. raw: the network's output, float32. picture: "
            "grey values or colours of the input's dtype, clipped and rounded (default for "
            "denoising). values: the same as float32.",
            show_default=False,
        ),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(
            metavar="MEAN,STD",
            help="The network gets (value - MEAN) / STD of the file's values, as float32; none "
            "leaves them as they are. By default what was done in training: the mean and standard "
            "deviation of all training images of a folder: data set, none for circle-square.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Take the scale of these training data, folder:DIR.", show_default=False),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="For a file of weights: msd, unet4, fcn-resnet50, pretrained:NAME, a run folder, "
            "or package.module:factory (runs that code). For a run folder of a network of your "
            "own: its factory, to allow that code.",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A setting of that network; repeat for more.",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(min=1, help="Channels of a picture.", rich_help_panel=_NETWORK),
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option(min=1, help="Classes, or channels of the output.", rich_help_panel=_NETWORK),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1, help="Slices in a call; by default one a thread.", rich_help_panel=_SPEED
        ),
    ] = None,
    memory: Annotated[
        float,
        typer.Option(
            help="GB that the network may take; larger pictures are cut into tiles that overlap "
            "as far as the network sees.",
            rich_help_panel=_SPEED,
        ),
    ] = 2.0,
    tile: Annotated[
        int | None,
        typer.Option(min=1, help="Cut pictures into tiles of this side.", rich_help_panel=_SPEED),
    ] = None,
    backend: Annotated[
        Backend,
        typer.Option(help="What runs the network; auto measures.", rich_help_panel=_SPEED),
    ] = Backend.auto,
    threads: options.Threads = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes on this machine, by Dask.", rich_help_panel=_SPEED),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Workers of a Dask scheduler that see the same files.",
            rich_help_panel=_SPEED,
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option(help="Go on with a half-finished output, or refuse it.")
    ] = True,
    as_json: options.Json = False,
    progress: options.Progress = True,
    debug: options.Debug = False,
) -> None:
    """Run a network on a folder of pictures, a stack or a volume, slice by slice.

    The network is compacted and runs on whatever is fastest here. Slices are streamed: the memory
    does not depend on their number. Until it is complete the output is called OUT.partial; stopped
    or killed, the same command goes on from there.

    Example: leanline apply runs/lean scan.zarr/raw scan.zarr/labels
    """
    with session(as_json, progress, debug, threads) as running:
        from leanline.cli.applied import AskedApplied, scale_of, task_of
        from leanline.inference import ApplyConfig

        asked = AskedApplied(net, model, tuple(settings or ()), channels, classes)
        asked.check()
        pairs = _pairs(source, out)
        kind = output.value if output else _DEFAULT.get(task_of(asked) or "")
        config = ApplyConfig(
            output=kind,
            scale=scale_of(asked, scale, data),
            backend=backend.value,
            threads=threads,
            batch=batch,
            tile=tile,
            memory=memory,
            resume=resume,
        )
        if resume:
            running.resumable = Path(out)
        rows = []
        for applied in _applied(asked, pairs, config, workers, scheduler):
            rows.append(applied)
            if not as_json and len(pairs) > 1:
                running.result({}, _text(applied))
        if as_json or len(pairs) == 1:
            single = {"command": "apply", "network": net, **rows[0]}
            several = {"command": "apply", "network": net, "volumes": rows}
            running.result(single if len(pairs) == 1 else several, _text(rows[0]))


_DEFAULT = {"segmentation": "labels", "denoising": "picture"}


def _applied(
    asked: Any,
    pairs: list[tuple[str, str]],
    config: Any,
    workers: int | None,
    scheduler: str | None,
) -> Iterator[dict[str, Any]]:
    from leanline.inference import Cluster, apply_on_cluster
    from leanline.inference import apply as apply_to

    if workers is not None or scheduler is not None:
        cluster = Cluster(workers, scheduler)
        for applied in apply_on_cluster(asked.load, pairs, config, cluster):
            yield applied.to_dict()
        return
    network = asked.load()
    for source, out in pairs:
        yield apply_to(network, source, out, config).to_dict()


def _pairs(source: str, out: str) -> list[tuple[str, str]]:
    """Inputs and outputs; of several inputs, each output has the input's name, in the folder."""
    from leanline.data.volumes import several

    found = several(source)
    if found is None:
        return [(source, out)]
    folder = Path(out).expanduser()
    if folder.suffix in (".tif", ".tiff", ".h5", ".hdf5") or folder.is_file():
        raise ConfigError(f"OUT {out}: {source} names {len(found)} volumes; give a folder")
    folder.mkdir(parents=True, exist_ok=True)
    names = [Path(one).name if ":" not in one else _named(one) for one in found]
    return [(one, str(folder / name)) for one, name in zip(found, names, strict=True)]


def _named(place: str) -> str:
    file, _, inner = place.partition(":")
    return f"{Path(file).name}:{inner}"


def _text(applied: Mapping[str, Any]) -> str:
    head = f"{applied['out']}: {applied['slices']} slices"
    if applied["how"] is None:
        return f"{head}, finished before"
    found = f", {applied['found']} of them found done" if applied["found"] else ""
    seconds, how = applied["seconds"], applied["how"]
    rate, share = applied["slices_per_second"], applied["network_share"]
    lines = [
        f"{head} of {how['output']}{found}",
        f"  {applied['computed']} slices in {seconds['seconds']:.1f} s, {rate or 0:.3g} slices/s; "
        f"{100 * (share or 0):.0f} % of the time in the network ({how['backend']}), after "
        f"{seconds['ready']:.1f} s to make it ready",
        f"  waiting for slices {seconds['waited_for_read']:.1f} s, for the disk "
        f"{seconds['waited_for_write']:.1f} s; reading took {seconds['read']:.1f} s, writing "
        f"{seconds['write']:.1f} s beside the network",
    ]
    if applied["overlap"]:
        lines.append(
            f"  in tiles of {how['side']} pixels; overlap above, below, left, right: "
            + ", ".join(str(n) for n in applied["overlap"])
        )
    if applied["not_finite"]:
        lines.append(f"  {len(applied['not_finite'])} slices hold NaN or infinite values")
    return "\n".join(lines)
