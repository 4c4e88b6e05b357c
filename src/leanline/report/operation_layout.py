"""Places for a network's operations: a box an operation, an arrow what it reads.

For networks whose channels are too many to be drawn one by one. Boxes stand below each other by
longest paths, in columns like a newspaper's; the farther right a box begins, the smaller are its
pictures, so that a U-Net shows as one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leanline.report.graph_description import GraphDescription, OperationRow
from leanline.report.graph_layout import break_columns, longest_path_layers
from leanline.report.operation_column import GAP, PITCH, Column, Line

HEADER, MARGIN = 0.95, 0.15
"""Inches above the first row, and around the drawing."""

LETTER = 0.0605
"""Inches that a letter of the boxes' font takes, with some room."""

LOOKS = ("prunable", "unprunable", "plain", "frozen", "elsewhere")
"""What a box may be: prunable filters, others, none, an unknown operation, one that stands again
where another column reads it."""


@dataclass(frozen=True)
class Box:
    """An operation with those that follow it channel by channel.

    Attributes:
        label: module path.
        detail: what is computed, such as "convolution 3x3, batch norm, relu".
        channels: of its result.
        size: of its result's pictures.
        operators: number of operators that the arrow into it stands for, and what they are.
        look: one of `LOOKS`.
        left: left edge in inches.
        middle: height of its middle above the drawing's lower edge, in inches.
        width: in inches.
        entry: where the arrow from above comes in, in inches from the left.
    """

    label: str
    detail: str
    channels: str
    size: str
    operators: str
    look: str
    left: float
    middle: float
    width: float
    entry: float


@dataclass(frozen=True)
class OperationDrawing:
    """Boxes and arrows with their places, in inches.

    Attributes:
        title: what it is.
        counts: how large it is.
        width: of the drawing.
        height: of the drawing.
        boxes: the operations, those that stand for one in another column too.
        arrows: points of each line; the head is at the last.
    """

    title: str
    counts: str
    width: float
    height: float
    boxes: tuple[Box, ...]
    arrows: tuple[Line, ...]


@dataclass(frozen=True)
class _Group:
    """Operations that are drawn as one box."""

    rows: tuple[OperationRow, ...]
    reads: tuple[int, ...]  # groups

    @property
    def look(self) -> str:
        first = self.rows[0]
        if first.frozen:
            return "frozen"
        if first.weight is None:
            return "plain"
        return "prunable" if first.prunable else "unprunable"


def group_operations(operations: Sequence[OperationRow]) -> tuple[_Group, ...]:
    """Put what follows an operation channel by channel, and alone reads it, into one group.

    An operation joins the one that it reads if it has no filters of its own, leaves channels and
    size as they are, and something reads it; results of the network keep their own group.
    """
    readers: dict[int, int] = {}
    for row in operations:
        for index in set(row.inputs):
            readers[index] = readers.get(index, 0) + 1
    rows = {row.index: row for row in operations}
    members: list[list[OperationRow]] = []
    place: dict[int, int] = {}
    for row in operations:
        source = rows[row.inputs[0]] if len(row.inputs) == 1 else None
        joins = (
            source is not None
            and bool(source.inputs)
            and readers[source.index] == 1
            and row.index in readers
            and row.weight is None
            and not (row.frozen or source.frozen)
            and (row.channels, row.size) == (source.channels, source.size)
        )
        if source is not None and joins:
            place[row.index] = place[source.index]
            members[place[row.index]].append(row)
        else:
            place[row.index] = len(members)
            members.append([row])
    return tuple(
        _Group(tuple(group), tuple(dict.fromkeys(place[source] for source in group[0].inputs)))
        for group in members
    )


def operation_drawing_data(description: GraphDescription) -> OperationDrawing:
    """Lay out a network's operations.

    Args:
        description: from `describe_graph`.
    """
    groups = group_operations(description.operations)
    texts = [_texts(group) for group in groups]
    width = max(
        LETTER * max(len(label) + len(channels), len(detail) + len(size)) + 0.3
        for label, detail, channels, size, _ in texts
    )
    layers = _layers(groups)
    depth = max(layers) + 1
    starts = _starts(groups, layers, break_columns(depth, PITCH, width + 1.2))
    levels = _levels(groups)
    reads = [group.reads for group in groups]
    boxes: list[Box] = []
    arrows: list[Line] = []
    left, tallest = MARGIN, 0
    for first, end in zip(starts, [*starts[1:], depth], strict=True):
        own = [i for i, layer in enumerate(layers) if first <= layer < end]
        part = Column(reads, layers, levels, own, width)
        tallest = max(tallest, part.rows)
        left += part.left_margin
        for index, spot in part.spots.items():
            label, detail, channels, size, operators = texts[index]
            look = "elsewhere" if spot.ghost else groups[index].look
            kind = "" if spot.ghost else operators
            entry = part.entries.get(index, spot.left + 0.2)
            place = (left + spot.left, spot.middle, width, left + entry)
            boxes.append(Box(label, detail, channels, size, kind, look, *place))
        arrows += [tuple((left + x, y) for x, y in line) for line in part.lines]
        left += part.width + GAP
    height = HEADER + PITCH * tallest + MARGIN
    top = height - HEADER - PITCH / 2
    return OperationDrawing(
        f"{description.network}: operations",
        description.counts,
        max(left - GAP + MARGIN, 7.0),
        height,
        tuple(Box(**{**vars(box), "middle": box.middle + top}) for box in boxes),
        tuple(tuple((x, y + top) for x, y in line) for line in arrows),
    )


def _starts(groups: Sequence[_Group], layers: Sequence[int], columns: int) -> list[int]:
    """First layer of each column: about as many rows in each, few arrows from one to another."""
    depth = max(layers) + 1

    def cost(layer: int, wanted: float) -> tuple[int, float]:
        crossing = {
            source
            for index, group in enumerate(groups)
            for source in group.reads
            if layers[source] < layer <= layers[index]
        }
        return len(crossing), abs(layer - wanted)

    starts = [0]
    for column in range(1, columns):
        wanted = depth * column / columns
        near = range(max(starts[-1] + 1, round(wanted) - 3), min(depth, round(wanted) + 4))
        starts.append(min(near, key=lambda layer: cost(layer, wanted)))
    return starts


def _layers(groups: Sequence[_Group]) -> list[int]:
    pairs = [(source, index) for index, group in enumerate(groups) for source in group.reads]
    src, dst = (np.array([pair[side] for pair in pairs], dtype=np.int64) for side in (0, 1))
    layers = longest_path_layers(np.arange(len(groups)), src, dst)
    found: list[int] = (layers - layers.min()).tolist()
    return found


def _levels(groups: Sequence[_Group]) -> list[int]:
    """How often the pictures of each group were halved, at most six times."""
    sizes = [
        math.prod(group.rows[-1].size) ** (1 / max(1, len(group.rows[-1].size))) for group in groups
    ]
    largest = max(sizes)
    return [min(6, max(0, round(math.log2(largest / max(size, 1e-9))))) for size in sizes]


def _texts(group: _Group) -> tuple[str, str, str, str, str]:
    first, last = group.rows[0], group.rows[-1]
    detail = ", ".join(dict.fromkeys(row.detail for row in group.rows))
    operators = ""
    if first.weight is not None:
        kept = f"{first.kept:,} of " if first.kept < first.filters else ""
        operators = f"{kept}{first.filters:,} filter{'s' if first.filters != 1 else ''}"
    return (
        _shortened(first.label),
        detail,
        f"{last.channels:,} channel{'s' if last.channels != 1 else ''}",
        " x ".join(str(extent) for extent in last.size),
        operators,
    )


def _shortened(path: str, most: int = 36) -> str:
    return path if len(path) <= most else "…" + path[1 - most :]
