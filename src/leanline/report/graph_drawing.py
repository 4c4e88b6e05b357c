"""Pictures of pruning graphs: the layouts come in, marks on the axes and files go out."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from leanline.errors import ConfigError
from leanline.records.atomic import write_bytes
from leanline.report.channel_layout import HEADER, RIGHT, ChannelDrawing
from leanline.report.operation_column import BOX_HEIGHT
from leanline.report.operation_layout import Box, OperationDrawing
from leanline.types import PathLike

FORMATS = (".svg", ".png", ".pdf")

INK, FAINT, PALE, GREEN, ORANGE = "#1b1f24", "#5a6470", "#dfe3e8", "#00735a", "#b84a00"
NORMS = LinearSegmentedColormap.from_list("norms", ["#b9d9ee", "#3f96cb", "#00528a", "#08223d"])

LOOKS = {
    "prunable": ("#d7e9f5", "#0067a3", "prunable filters"),
    "unprunable": ("#eceef0", "#5a6470", "filters that are not pruned"),
    "plain": ("#ffffff", "#a3adb8", "no filters"),
    "frozen": ("#fbe3d2", "#b84a00", "unknown operation: freezes its channels"),
    "elsewhere": ("#ffffff", "#c9d0d7", "from another column"),
}
"""Colours inside and around a box, and what they mean."""


_STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "leanline",  # the same drawing gives the same file
    "text.usetex": False,
    "text.parse_math": False,  # names come from users: a $ is a $
}


def save_drawing(data: ChannelDrawing | OperationDrawing, path: PathLike) -> None:
    """Draw a layout into a file, whose suffix says the format.

    Raises:
        ConfigError: the suffix is none of `FORMATS`.
        RunError: the file cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise ConfigError(f"{path}: give a file that ends in {', '.join(FORMATS)}")
    buffer = io.BytesIO()
    undated = {"Date": None, "Creator": None} if suffix == ".svg" else {}
    undated |= {"CreationDate": None} if suffix == ".pdf" else {}
    with matplotlib.rc_context(_STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(data.width, data.height), facecolor="white")
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        if isinstance(data, ChannelDrawing):
            draw_channels(axes, data)
        else:
            draw_operations(axes, data)
        figure.savefig(buffer, format=suffix[1:], dpi=150, metadata=undated)
    content = buffer.getvalue()
    if suffix == ".svg":  # without spaces at the ends of lines
        content = b"\n".join(line.rstrip() for line in content.splitlines()) + b"\n"
    write_bytes(path, content)


def draw_channels(axes: Axes, data: ChannelDrawing) -> None:
    """Draw nodes as dots, operators as lines that are the darker and thicker the larger.

    Args:
        axes: of the size of the drawing, without anything around them.
        data: what to draw.
    """
    axes.set_axis_off()
    axes.set_xlim(0, data.width)
    axes.set_ylim(0, data.height)
    shown = data.norm[data.prunable & data.chosen]
    least, most = (float(shown.min()), float(shown.max())) if shown.size else (0.5, 1.0)
    scale = LogNorm(max(least, 1e-3 * most), most * (1.0 if most > least else 1.01))
    groups = (
        (data.prunable & ~data.chosen, 1),
        (~data.prunable, 2),
        (data.prunable & data.chosen, 3),
    )
    for members, depth in groups:
        index = np.flatnonzero(members)
        index = index[np.argsort(data.norm[index], kind="stable")]  # the strongest on top
        lines = LineCollection([_curve(data, edge) for edge in index.tolist()], zorder=depth)
        lines.set_capstyle("round")
        if depth == 3:
            strength = np.clip(scale(data.norm[index]), 0.0, 1.0)
            lines.set_array(np.clip(data.norm[index], scale.vmin, scale.vmax))
            lines.set_norm(scale)
            lines.set_cmap(NORMS)
            lines.set_linewidth((0.5 + 1.7 * np.asarray(strength)).tolist())
            norms = lines
        else:
            lines.set_color(PALE if depth == 1 else FAINT)
            lines.set_linewidth(0.5 if depth == 1 else 0.8)
            if depth == 2:
                lines.set_linestyle((0, (3, 2)))
        axes.add_collection(lines)
    _draw_nodes(axes, data)
    for x, name in data.labels:
        style: dict[str, Any] = {
            "rotation": 90,
            "ha": "center",
            "va": "top",
            "fontsize": 7,
            "color": FAINT,
        }
        axes.text(x, data.floor - 0.15, name, **style)
    axes.text(
        0.12, data.height - 0.12, data.title, va="top", fontsize=11, fontweight="bold", color=INK
    )
    axes.text(0.12, data.height - 0.38, data.counts, va="top", fontsize=8, color=FAINT)
    _draw_scale(axes, data, norms)
    _draw_legend(axes, data)


def _draw_scale(axes: Axes, data: ChannelDrawing, norms: LineCollection) -> None:
    """A bar of the colours of the norms, right of the nodes."""
    length = min(2.0, data.height - data.floor - HEADER + 0.4)
    place = (data.width - RIGHT + 0.4, data.height - HEADER - length + 0.2, 0.1, length)
    bar = axes.figure.colorbar(norms, cax=axes.inset_axes(place, transform=axes.transData))
    bar.set_label("operator norm of a filter", fontsize=7, color=FAINT)
    least, most = norms.get_clim()
    bar.ax.yaxis.set_major_locator(FixedLocator([least, (least * most) ** 0.5, most]))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    bar.ax.tick_params(labelsize=6.5, length=2, colors=FAINT)
    bar.outline.set_visible(False)


def _curve(data: ChannelDrawing, edge: int) -> Float[np.ndarray, "points 2"]:
    ends = np.array([data.src[edge], data.dst[edge]])
    bend = data.bend[edge]
    across = data.x[ends[1]] - data.x[ends[0]]
    step = np.linspace(0.0, 1.0, 2 if bend == 0 else 13 + int(3 * across))
    x = data.x[ends[0]] + step * across
    y = data.y[ends[0]] + step * (data.y[ends[1]] - data.y[ends[0]])
    points: np.ndarray = np.stack([x, y + 4 * bend * step * (1 - step)], axis=1)
    return points


def _draw_nodes(axes: Axes, data: ChannelDrawing) -> None:
    for members, colour in (
        (~(data.inputs | data.outputs), INK),
        (data.inputs, "#00735a"),
        (data.outputs, ORANGE),
    ):
        axes.plot(
            data.x[members],
            data.y[members],
            linestyle="",
            marker="o",
            markersize=5,
            markerfacecolor=colour,
            markeredgecolor="white",
            markeredgewidth=0.8,
            zorder=4,
        )


def _draw_legend(axes: Axes, data: ChannelDrawing) -> None:
    dot: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 5}
    strong = "prunable filter" if data.chosen.all() else "kept filter"
    entries = [
        Line2D([], [], color="#00735a", label="input channel", **dot),
        Line2D([], [], color=INK, label="channel", **dot),
        Line2D([], [], color=ORANGE, label="output channel", **dot),
        Line2D([], [], color=NORMS(0.6), linewidth=1.6, label=strong),
    ]
    if not data.chosen.all():
        entries.append(Line2D([], [], color=PALE, linewidth=1.2, label="other filters"))
    if not data.prunable.all():
        entries.append(
            Line2D([], [], color=FAINT, linewidth=0.9, linestyle=(0, (3, 2)), label="not prunable")
        )
    axes.legend(
        handles=entries,
        loc="upper left",
        bbox_to_anchor=(0.02, data.height - 0.55),
        bbox_transform=axes.transData,
        ncols=len(entries),
        fontsize=7,
        frameon=False,
        borderaxespad=0.0,
        handlelength=1.6,
        columnspacing=1.2,
    )


def draw_operations(axes: Axes, data: OperationDrawing) -> None:
    """Draw boxes with their names, and arrows between them.

    Args:
        axes: of the size of the drawing, without anything around them.
        data: what to draw.
    """
    axes.set_axis_off()
    axes.set_xlim(0, data.width)
    axes.set_ylim(0, data.height)
    arrow = {"arrowstyle": "-|>,head_length=0.25,head_width=0.12", "color": FAINT, "linewidth": 0.8}
    for line in data.arrows:
        if len(line) > 2:
            x, y = zip(*line[:-1], strict=True)
            axes.plot(x, y, color=FAINT, linewidth=0.8, zorder=1, solid_joinstyle="miter")
        style: dict[str, Any] = {**arrow, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", line[-1], line[-2], arrowprops=style, zorder=1)
    for box in data.boxes:
        _draw_box(axes, box)
    title: dict[str, Any] = {"va": "top", "fontsize": 11, "fontweight": "bold", "color": INK}
    axes.text(0.12, data.height - 0.12, data.title, **title)
    axes.text(0.12, data.height - 0.38, data.counts, va="top", fontsize=8, color=FAINT)
    used = dict.fromkeys(look for look in LOOKS if any(box.look == look for box in data.boxes))
    axes.legend(
        handles=[
            Patch(facecolor=LOOKS[k][0], edgecolor=LOOKS[k][1], label=LOOKS[k][2]) for k in used
        ],
        loc="upper left",
        bbox_to_anchor=(0.02, data.height - 0.53),
        bbox_transform=axes.transData,
        ncols=len(used),
        fontsize=7,
        frameon=False,
        borderaxespad=0.0,
    )


def _draw_box(axes: Axes, box: Box) -> None:
    inside, edge, _ = LOOKS[box.look]
    ghost = box.look == "elsewhere"
    axes.add_patch(
        FancyBboxPatch(
            (box.left, box.middle - BOX_HEIGHT / 2),
            box.width,
            BOX_HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.05",
            facecolor=inside,
            edgecolor=edge,
            linewidth=0.8,
            linestyle=(0, (3, 2)) if ghost else "-",
            zorder=2,
        )
    )
    near, far = box.left + 0.07, box.left + box.width - 0.07
    upper, lower = box.middle + 0.065, box.middle - 0.075
    style: dict[str, Any] = {"va": "center", "fontsize": 7, "zorder": 3}
    axes.text(near, upper, box.label, color=FAINT if ghost else INK, fontweight="bold", **style)
    axes.text(far, upper, box.channels, ha="right", color=FAINT if ghost else INK, **style)
    axes.text(near, lower, box.detail, color=FAINT, **style)
    axes.text(far, lower, box.size, ha="right", color=FAINT, **style)
    if box.operators:
        place = (box.entry + 0.1, box.middle + BOX_HEIGHT / 2 + 0.065)
        axes.text(*place, box.operators, color=edge, va="center", fontsize=6.2, zorder=3)
