"""Figure 4.4: how much faster the pruned networks are, against the batch size."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from leanline.errors import RunError
from leanline.experiments.timing import COMPILED, EAGER
from leanline.report.experiment.data import Experiment, rule_label
from leanline.report.figures import DASHES, MARKERS, log_ticks, rule_colour
from leanline.report.metrics import percent
from leanline.report.svg import FAINT

BATCHES = "batches.json"


@dataclass(frozen=True)
class BatchTime:
    """One network at one batch size: milliseconds a picture, and speed-ups with quartiles."""

    batch: int
    ms: float
    speedup: float
    low: float
    high: float


@dataclass(frozen=True)
class BatchLine:
    """One network at all batch sizes.

    Attributes:
        label: what it is.
        pruned: whether it is a pruned one.
        times: by batch size, smallest first.
    """

    label: str
    pruned: bool
    times: tuple[BatchTime, ...]


@dataclass(frozen=True)
class BatchData:
    """The numbers of Figure 4.4.

    Attributes:
        lines: the networks, the dense ones first.
        threads: of all of them.
        device: what they ran on.
    """

    lines: tuple[BatchLine, ...]
    threads: int
    device: str


def batch_data(experiment: Experiment, pair: tuple[str, str]) -> BatchData | None:
    """Times by batch size of a network on a data set; None where there are none.

    Raises:
        RunError: the file is damaged.
    """
    file = experiment.folder / "runs" / f"{pair[0]}@{pair[1]}" / BATCHES
    if not file.is_file():
        return None
    try:
        found = {int(batch): each for batch, each in _read(file).items()}
        sizes = sorted(found)
        names = list(found[sizes[0]]["rows"])
        lines = tuple(
            BatchLine(
                _label(experiment, pair, name),
                name not in (EAGER, COMPILED),
                tuple(_time(size, found[size]["rows"][name]) for size in sizes),
            )
            for name in names
            if all(name in found[size]["rows"] for size in sizes)
        )
        first = found[sizes[0]]
        return BatchData(lines, int(first["threads"]), str(first["device"]))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise RunError(f"{file} is damaged: {error!r}") from error


def draw_batches(axes: Axes, data: BatchData) -> None:
    """Draw speed-ups over the dense network in PyTorch, with quartiles, on two log axes."""
    pruned = 0
    for line in data.lines[1:]:  # the first is what the others are measured against
        sizes = [time.batch for time in line.times]
        colour = rule_colour(pruned) if line.pruned else FAINT
        dash = DASHES[pruned % len(DASHES)] if line.pruned else (0, (4, 3))
        axes.fill_between(
            sizes,
            [time.low for time in line.times],
            [time.high for time in line.times],
            color=colour,
            alpha=0.15,
            linewidth=0,
        )
        axes.plot(
            sizes,
            [time.speedup for time in line.times],
            color=colour,
            linestyle=dash,
            marker=MARKERS[pruned % len(MARKERS)] if line.pruned else "",
            markersize=5,
            linewidth=1.8,
            label=line.label,
        )
        pruned += line.pruned
    every = [time.speedup for line in data.lines for time in line.times]
    sizes = [time.batch for time in data.lines[0].times]
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yscale("log")
    log_ticks(axes.yaxis, max(every) / min(every))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.4g}×"))
    axes.grid(True)
    axes.set_xlabel("pictures in a batch")
    axes.set_ylabel("times as fast as dense in PyTorch")
    axes.legend(frameon=False)


def _time(batch: int, row: dict[str, float]) -> BatchTime:
    ratios = (float(row[name]) for name in ("speedup", "speedup_low", "speedup_high"))
    return BatchTime(batch, float(row["ms"]) / batch, *ratios)


def _label(experiment: Experiment, pair: tuple[str, str], name: str) -> str:
    if name in (EAGER, COMPILED):
        return name
    _, rule, seed, stage = name.rsplit(" ", 3)
    table = experiment.of_pair(pair)
    chosen = (
        (table["criterion"] == rule) & (table["seed"] == int(seed)) & (table["stage"] == int(stage))
    )
    kept = float(table[chosen]["live"].iloc[0])
    return f"{rule_label(rule)} at {percent(kept)}"


def _read(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text(encoding="utf-8")))
