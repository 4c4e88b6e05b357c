"""One column of a drawing by operation: where its boxes stand and how its lines run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from leanline.report.graph_layout import assign_lanes

PITCH, BOX_HEIGHT, INDENT, GAP, LANE = 0.52, 0.32, 0.28, 0.3, 0.09
"""Inches: from row to row, of a box, to the right a halving, between boxes, between lines."""

Line = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Spot:
    """Where a box stands.

    Attributes:
        row: from above.
        track: boxes of one row stand side by side, on tracks 0, 1, ...
        left: its left edge.
        ghost: whether it stands for one of an earlier column.
    """

    row: int
    track: int
    left: float
    ghost: bool

    @property
    def middle(self) -> float:
        """Height of its middle."""
        return -PITCH * self.row

    @property
    def top(self) -> float:
        """Height of its upper edge."""
        return self.middle + BOX_HEIGHT / 2

    @property
    def bottom(self) -> float:
        """Height of its lower edge."""
        return self.middle - BOX_HEIGHT / 2

    @property
    def over(self) -> float:
        """Height of the lines above it, over what is written there."""
        return self.middle + PITCH - BOX_HEIGHT / 2 - 0.03


class Column:
    """Places in inches, from the column's left edge and from the middle of its first row.

    Args:
        reads: for each group of operations the groups that it reads.
        layers: layer of each group.
        levels: how often its pictures were halved.
        own: groups of this column, in order.
        width: of a box.

    Attributes:
        spots: place of each group of the column, and of those that it reads from earlier ones.
        lines: a line for each reading.
        entries: where from the left the line from the row above comes in, by group.
        rows: number of rows.
        width: of the column, without its left margin.
        left_margin: room that lines need left of it.
    """

    def __init__(
        self,
        reads: Sequence[Sequence[int]],
        layers: Sequence[int],
        levels: Sequence[int],
        own: Sequence[int],
        width: float,
    ) -> None:
        self._box_width = width
        tracks = _tracks(reads, layers, levels, own)
        outside = {source for index in own for source in reads[index]} - set(own)
        ghosts = sorted(outside, key=lambda index: (layers[index], index))
        start = len(ghosts) - min(layers[index] for index in own)
        rows = {index: row for row, index in enumerate(ghosts)}
        rows |= {index: start + layers[index] for index in own}
        tracks |= dict.fromkeys(ghosts, 0)
        pairs = [(source, index) for index in own for source in reads[index]]
        lanes = _lanes(pairs, rows, tracks)
        between = [lane for (source, _), lane in lanes.items() if tracks[source] > 0]
        shown = [levels[index] for index in rows]
        spread = width + INDENT * (max(shown) - min(shown))
        spread += max(GAP, LANE * (max(between, default=0) + 1) + 0.15)
        self.spots = {
            index: Spot(
                row,
                tracks[index],
                INDENT * levels[index] + spread * tracks[index],
                index in outside,
            )
            for index, row in rows.items()
        }
        self.entries: dict[int, float] = {}
        lines: list[Line] = []
        for source, index in pairs:
            ends = (self.spots[source], self.spots[index])
            if (source, index) in lanes:
                lines.append(self._around(*ends, lanes[source, index]))
            else:
                lines.append(self._step(*ends))
                self.entries.setdefault(index, lines[-1][-1][0])
        self.lines = lines
        self.rows = max(rows.values()) + 1
        self.width = max(spot.left for spot in self.spots.values()) + width
        self.left_margin = max(0.0, -min((x for line in lines for x, _ in line), default=0.0))

    def _step(self, source: Spot, target: Spot) -> Line:
        """A line to the row below."""
        low = max(source.left, target.left) + 0.2
        if low + 0.2 < min(source.left, target.left) + self._box_width:
            return ((low, source.bottom), (low, target.top))
        if source.left < target.left:
            leave, enter = source.left + self._box_width - 0.2, target.left + 0.2
        else:
            leave, enter = source.left + 0.2, target.left + self._box_width - 0.4
        over = target.over
        return ((leave, source.bottom), (leave, over), (enter, over), (enter, target.top))

    def _around(self, source: Spot, target: Spot, lane: int) -> Line:
        """A line left of all boxes of the source's track, past those between."""
        beside = min(
            spot.left
            for spot in self.spots.values()
            if spot.track == source.track and source.row <= spot.row <= target.row
        )
        far = beside - LANE * (lane + 1) - 0.04
        begin, end = source.middle - 0.07, target.middle + 0.07  # one may end where one begins
        if source.track == target.track:
            return ((source.left, begin), (far, begin), (far, end), (target.left, end))
        share = 0.5 if source.track < target.track else 0.85
        enter, over = target.left + share * self._box_width, target.over
        return ((source.left, begin), (far, begin), (far, over), (enter, over), (enter, target.top))


def _tracks(
    reads: Sequence[Sequence[int]],
    layers: Sequence[int],
    levels: Sequence[int],
    own: Sequence[int],
) -> dict[int, int]:
    """A track for each group: that of what it reads where it can, else the lowest free one."""
    tracks: dict[int, int] = {}
    taken: set[tuple[int, int]] = set()
    for index in sorted(own, key=lambda index: (layers[index], levels[index], index)):
        wanted = min((tracks[source] for source in reads[index] if source in tracks), default=0)
        free = (
            track for track in (wanted, *range(len(own))) if (layers[index], track) not in taken
        )
        tracks[index] = next(free)
        taken.add((layers[index], tracks[index]))
    return tracks


def _lanes(
    pairs: Sequence[tuple[int, int]], rows: Mapping[int, int], tracks: Mapping[int, int]
) -> dict[tuple[int, int], int]:
    """Numbers of the lines that skip rows, each track's by themselves."""
    lanes: dict[tuple[int, int], int] = {}
    for track in set(tracks.values()):
        around = [
            (source, index)
            for source, index in pairs
            if tracks[source] == track and rows[index] > rows[source] + 1
        ]
        spans = [(rows[source], rows[index]) for source, index in around]
        lanes |= dict(zip(around, assign_lanes(spans), strict=True))
    return lanes
