"""`leanline graph`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leanline.cli import options
from leanline.cli.session import session
from leanline.cli.text import number, table
from leanline.errors import ConfigError

if TYPE_CHECKING:
    from leanline.report.graph_description import GraphDescription, OperationRow


def graph(
    model: Annotated[
        str,
        typer.Argument(
            help="A folder of `leanline train` or `prune`, pretrained:msd50-circle-square, "
            + options.NAMES
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Draw the graph into this file, .svg, .png or .pdf."),
    ] = None,
    keep: Annotated[
        float | None,
        typer.Option(help="Show what LEAN would keep, without retraining: this fraction, alive."),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="HEIGHTxWIDTH",
            help="Size of the pictures that norms are for; by default that of the run, or 128x128.",
        ),
    ] = None,
    channels: Annotated[
        int | None, typer.Option(min=1, help="Channels of a picture; by default 1.")
    ] = None,
    classes: Annotated[
        int | None, typer.Option(min=1, help="Classes, or channels of the output; by default 2.")
    ] = None,
    settings: options.Settings = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="Weights of a network given by name; by default its initial values."),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(metavar="MODULE", help="A module that is not pruned; repeat for more."),
    ] = None,
    confirm: options.Confirm = None,
    as_json: options.Json = False,
    progress: options.Progress = True,
    debug: options.Debug = False,
) -> None:
    """Show a network's pruning graph: what is pruned, what is not, and the norms.

    A small graph is drawn channel by channel, a large one by operation.

    Example: leanline graph unet4 --set width=8 --out unet4.svg
    """
    with session(as_json, progress, debug) as running:
        import torch

        from leanline.cli.subjects import AskedNetwork, open_network
        from leanline.report.channel_layout import can_draw_channels, channel_drawing_data
        from leanline.report.graph_description import describe_graph, keep_chains
        from leanline.report.graph_drawing import FORMATS, save_drawing
        from leanline.report.operation_layout import operation_drawing_data

        if out is not None and out.suffix.lower() not in FORMATS:
            raise ConfigError(f"--out {out}: give a file that ends in {', '.join(FORMATS)}")
        asked = AskedNetwork(model, confirm, weights, settings, channels, classes, size)
        subject = open_network(asked)
        example = torch.zeros(subject.shape)
        found, description = describe_graph(subject.network, example, ignore or (), model)
        chosen = None
        if keep is not None:
            chosen, description = keep_chains(found, description, keep)
        if out is not None:
            save_drawing(
                channel_drawing_data(found, description, chosen)
                if can_draw_channels(found)
                else operation_drawing_data(description),
                out,
            )
        running.result(
            {
                "command": "graph",
                "model": model,
                "weights": subject.origin,
                "out": out,
                "graph": description.to_dict(),
            },
            _text(description, subject.origin, out),
        )


def _text(description: "GraphDescription", origin: str, out: Path | None) -> str:
    pruned = any(row.kept < row.filters for row in description.operations)
    shown = [row for row in description.operations if row.weight or row.frozen or _scales(row)]
    columns = ["operation", "what", "channels", "size", "filters", "least", "median", "largest"]
    if pruned:
        columns.insert(5, "kept")
    lines = [
        f"{description.network} ({origin}), traced by {description.tracer}",
        description.counts,
        *_listed("not pruned", description.unprunable),
        *_listed("channels frozen by", description.frozen),
        "",
        table([_row(row, pruned) for row in shown], columns),
    ]
    others: dict[str, int] = {}
    for row in description.operations:
        if row not in shown:
            others[row.kind] = others.get(row.kind, 0) + 1
    if others:
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(others.items()))
        lines.append(f"and of norm 1: {counts}")
    if out is not None:
        lines.append(f"drawn: {out}")
    return "\n".join(lines)


def _scales(row: "OperationRow") -> bool:
    """Whether the norms are not all 1, to the digits that are shown."""
    norms = row.norms
    return norms is not None and {number(norms.least), number(norms.largest)} != {"1"}


def _row(row: "OperationRow", pruned: bool) -> dict[str, Any]:
    cells: dict[str, Any] = {
        "operation": row.label,
        "what": row.detail,
        "channels": f"{row.channels:,}",
        "size": "x".join(str(extent) for extent in row.size),
        "filters": f"{row.filters:,}" if row.weight else "",
    }
    if pruned:
        cells["kept"] = f"{row.kept:,}" if row.weight else ""
    if row.norms is not None:
        norms = row.norms
        cells |= {"least": norms.least, "median": norms.median, "largest": norms.largest}
    return cells


def _listed(title: str, items: tuple[str, ...]) -> list[str]:
    """A title with its items, in one line or one under the other."""
    if not items:
        return []
    if sum(len(item) for item in items) < 80:
        return [f"{title}: {', '.join(items)}"]
    return [f"{title}:", *(f"  {item}" for item in items)]
