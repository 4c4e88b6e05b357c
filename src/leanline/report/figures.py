"""Figures that only draw: data in, marks on the axes out."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import ListedColormap
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from leanline.report.metrics import significant
from leanline.report.series import AccuracyData, Bar, MatrixData, SpeedData, TrainingData, runs_of
from leanline.report.svg import FAINT, INK, PAPER, RULES

MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", (0, (5, 2)), (0, (1, 1.4)), (0, (5, 2, 1, 2)), (0, (3, 1)), (0, (8, 2)))
"""Rules differ by marker and dash as well as by colour, for print and for the colour-blind."""

CELLS = ListedColormap(["#5f5f5f", "#000000", "#ffffff"])
"""Never there, pruned away, active."""


def draw_accuracy(axes: Axes, data: AccuracyData) -> None:
    """Draw accuracy against kept filters as in Figure 4.3: the fewer, the farther right."""
    for index, curve in enumerate(data.curves):
        axes.plot(
            curve.kept,
            curve.values,
            color=rule_colour(index),
            linestyle=DASHES[index % len(DASHES)],
            marker=MARKERS[index % len(MARKERS)],
            markersize=5,
            linewidth=1.8,
            zorder=3,
        )
    everything = [value for curve in data.curves for value in curve.values]
    kept = [count for curve in data.curves for count in curve.kept]
    if data.dense is not None:
        everything.append(data.dense)
        axes.axhline(data.dense, color=FAINT, linewidth=1.2, linestyle=(0, (4, 3)))
    low, high = min(everything), max(everything)
    margin = 0.08 * ((high - low) or max(abs(high), 1.0))
    axes.set_ylim(low - margin, high + 1.6 * margin)
    axes.set_xscale("log")
    most = max(100.0 if data.in_percent else 0.0, *kept) if kept else 100.0
    axes.set_xlim(most * 1.08, min(kept) / 1.12)
    log_ticks(axes.xaxis, most / min(kept))
    unit = " %" if data.in_percent else ""
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.4g}{unit}"))
    axes.grid(True)
    total = "of the unpruned network's filters " if data.in_percent else ""
    axes.set_xlabel(f"filters kept, {total}(log scale, fewer to the right)".replace(", (", " ("))
    axes.set_ylabel(data.axis)
    if data.dense is not None:
        axes.annotate(
            data.dense_label,
            (0, data.dense),
            (4, 4),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            color=FAINT,
            fontsize=8.5,
        )
    _label_ends(axes, data)


def _label_ends(axes: Axes, data: AccuracyData) -> None:
    """Write the rule's name right of each curve's last point, apart from each other."""
    bottom, top = axes.get_ylim()
    gap = 0.075 * (top - bottom)
    order = sorted(range(len(data.curves)), key=lambda index: data.curves[index].values[-1])
    places: dict[int, float] = {}
    floor = bottom
    for index in order:
        places[index] = floor = max(data.curves[index].values[-1], floor + gap)
    for index, place in places.items():
        curve = data.curves[index]
        axes.annotate(
            curve.end,
            (1, place),
            (6, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            color=rule_colour(index),
            fontweight="bold",
            va="center",
        )


def draw_speed(axes: Axes, data: SpeedData) -> None:
    """Draw times as bars on a log axis, with quartiles as whiskers; the shorter, the faster."""
    place, ticks, names = 0.0, [], []
    for (run, bars), group in zip(runs_of(data), data.groups, strict=True):
        if group:
            axes.text(
                0.0,
                place,
                group,
                transform=axes.get_yaxis_transform(),
                fontweight="bold",
                va="center",
                clip_on=False,
            )
            place += 0.9
        for bar in bars:
            _bar(axes, bar, place, run)
            ticks.append(place)
            names.append(bar.name)
            place += 1.0
        place += 0.35
    lows, highs = [bar.low for bar in data.bars], [bar.high for bar in data.bars]
    least = min(value for value in (*lows, *(bar.median for bar in data.bars)) if value > 0)
    axes.set_xscale("log")
    axes.set_xlim(least / 2, max(highs) * 5)
    axes.set_ylim(place - 0.7, -0.7)
    axes.set_yticks(ticks, names)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    log_ticks(axes.xaxis, max(highs) / least)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.4g}"))
    axes.grid(True, axis="x")
    axes.set_xlabel("milliseconds per call (log scale, shorter is faster)")


def _bar(axes: Axes, bar: Bar, place: float, run: int) -> None:
    colour = rule_colour(run) if bar.pruned else FAINT
    axes.barh(place, bar.median, height=0.66, color=colour, alpha=0.85 if bar.pruned else 0.6)
    low, high = max(bar.low, bar.median * 1e-3), max(bar.high, bar.median)
    axes.plot([low, high], [place, place], color=INK, linewidth=1.1)
    axes.plot([low, high], [place, place], color=INK, linestyle="", marker="|", markersize=5)
    axes.annotate(
        bar.note, (high, place), (6, 0), textcoords="offset points", va="center", fontsize=8.5
    )


def draw_training(axes: Axes, data: TrainingData) -> None:
    """Draw the metric on the validation pictures, with the best evaluation marked."""
    axes.plot(
        data.steps, data.values, color=rule_colour(0), marker="o", markersize=3.5, linewidth=1.6
    )
    if data.best is not None:
        point = (data.steps[data.best], data.values[data.best])
        axes.plot(
            *point, color=rule_colour(0), marker="o", markersize=9, markerfacecolor=PAPER, zorder=3
        )
        axes.annotate("kept", point, (0, 8), textcoords="offset points", ha="center")
    axes.margins(y=0.15)
    axes.grid(True)
    axes.set_xlabel("training steps")
    axes.set_ylabel(data.axis)


def draw_losses(axes: Axes, data: TrainingData) -> None:
    """Draw the loss on training and validation pictures, on a log axis where it can be."""
    lines: Sequence[tuple[str, Sequence[float]]] = (
        ("validation", data.val_loss),
        ("training", data.train_loss),
    )
    shown = [(name, values) for name, values in lines if values]
    for index, (name, values) in enumerate(shown):
        axes.plot(
            data.steps,
            values,
            color=rule_colour(index),
            linestyle=DASHES[index],
            marker=MARKERS[index],
            markersize=3.5,
            label=name,
        )
    if all(value > 0 for _, values in shown for value in values):
        axes.set_yscale("log")
        log_ticks(axes.yaxis, max(max(v) / min(v) for _, v in shown))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: significant(y, 2)))
    axes.legend(frameon=False)
    axes.grid(True)
    axes.set_xlabel("training steps")
    axes.set_ylabel("loss")


def draw_matrix(axes: Axes, data: MatrixData) -> None:
    """Draw an adjacency matrix as in Figure A2: white where a filter is active."""
    axes.imshow(data.cells, cmap=CELLS, vmin=0, vmax=2, interpolation="none")
    axes.set_xlabel("from channel")
    axes.set_ylabel("to channel")
    axes.spines[["top", "right"]].set_visible(True)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=5, integer=True))


def log_ticks(axis: Axis, ratio: float) -> None:
    """Put ticks at round numbers, as many as fit the ratio of the largest value to the least."""
    if ratio > 2000:
        places: tuple[float, ...] = (1.0,)
    elif ratio > 8:
        places = (1.0, 2.0, 5.0)
    elif ratio > 2:
        places = (1.0, 2.0, 3.0, 4.0, 5.0, 7.0)
    else:
        places = tuple(round(0.1 * tenth, 1) for tenth in range(10, 100))
    axis.set_major_locator(LogLocator(subs=places, numticks=20 if ratio > 2 else 100))
    axis.set_minor_locator(NullLocator())


def rule_colour(index: int) -> str:
    """The colour of a rule; there are six."""
    return RULES[index % len(RULES)]
