"""What the report says in words: the result, what is missing, what the words mean."""

from __future__ import annotations

import math
from dataclasses import dataclass

from leanline.experiments.evidence import (
    EAGER_COMPACT,
    EAGER_DENSE,
    KERNEL_DENSE,
    KERNEL_PRUNED,
    ONNX_COMPACT,
    ONNX_DENSE,
)
from leanline.report.data import Report, Run
from leanline.report.gallery import background_share
from leanline.report.metrics import Metric, duration, faster, milliseconds, percent
from leanline.runtime.benchmark import Timing

ROWS = {
    EAGER_DENSE: "the network before pruning, run by PyTorch as it is: what you had",
    KERNEL_DENSE: "the same network on leanline's own kernels, nothing skipped",
    ONNX_DENSE: "the network before pruning, exported and run by ONNX Runtime",
    EAGER_COMPACT: "the pruned network as a smaller ordinary network, run by PyTorch",
    ONNX_COMPACT: "that smaller network, exported and run by ONNX Runtime",
    KERNEL_PRUNED: "the pruned network on leanline's kernels, which skip every filter that is gone",
}
"""What each row of the speed table is."""


@dataclass(frozen=True)
class Tile:
    """One of the few figures at the top.

    Attributes:
        value: the figure.
        meaning: what it is.
    """

    value: str
    meaning: str


@dataclass(frozen=True)
class Term:
    """A word that the report uses, explained."""

    word: str
    meaning: str


_RULE_MEANINGS = {
    "LEAN": (
        "keeps the longest chains: the network is seen as a graph of filters, a filter's weight is "
        "the most it can amplify a picture (its operator norm), and the filters on the paths with "
        "the largest product of weights stay"
    ),
    "Magnitude": "keeps the filters with the largest sum of absolute weights, each judged alone",
    "Operator norm": (
        "keeps the filters that can amplify a picture most (the largest operator norm), each "
        "judged alone"
    ),
    "Geometric median": (
        "keeps, in every layer the same fraction, the output filters that are farthest from the "
        "others of their layer: one that is near to all others can be replaced by them"
    ),
    "Soft filter": (
        "keeps, in every layer the same fraction, the output filters of the largest Euclidean "
        "norm; while a stage is trained the others are set to zero again and again, and may return"
    ),
    "Random": "keeps filters drawn at random, the least that a rule has to beat",
}


def headline(report: Report) -> str:
    """The measured result in one sentence."""
    if not report.runs:
        return "Nothing has been pruned yet"
    return _trained(report) if report.kind == "train" else _pruned(report, report.runs[0], True)


def more_results(report: Report) -> list[str]:
    """What else belongs beside the headline."""
    lines = [_pruned(report, run, False) + "." for run in report.runs[1:]]
    ends = [run.result.kept or 0 for run in report.runs if run.result]
    for run in report.runs:
        if run.goal is not None:
            stage = f"stage {run.goal.deliver}" if run.goal.deliver else "the unpruned network"
            who = f"{run.label}, pruned" if len(report.runs) > 1 else "Pruned"
            lines.append(f"{who} to a goal: {stage} is delivered; {run.goal.reason}.")
    if ends and max(ends) > 1.02 * min(ends):
        lines.append(
            "The rules stand at different numbers of filters: compare the curves at equal numbers, "
            "not their ends."
        )
    for run in report.runs:
        rows = timed(run)
        if KERNEL_DENSE in rows and KERNEL_PRUNED in rows:
            before, after = rows[KERNEL_DENSE].median, rows[KERNEL_PRUNED].median
            lines.append(
                "On leanline's own kernels for both, so that only the pruning differs: "
                f"{milliseconds(before)} → {milliseconds(after)} per call, "
                f"{faster(before / after)}" + (f" ({run.label})." if len(report.runs) > 1 else ".")
            )
            break
    share = background_share(report)
    if share and report.metric and report.metric.name == "accuracy":
        lines.append(
            f"For comparison: saying “{share[0]}” everywhere is right for {percent(share[1])} of "
            "the pixels of the pictures shown below."
        )
    lines += _conditions(report)
    return lines


def _conditions(report: Report) -> list[str]:
    """On what the headline was measured."""
    for run in report.runs:
        if run.evidence is None or not run.evidence.metrics.keys() & {"dense", "pruned"}:
            continue
        line = "Accuracy is that on test pictures"
        if run.evidence.timing is not None:
            line += f"; times are of {call(run)}, on {threads(run.evidence.timing.threads)}"
        return [f"{line}{f', measured on {run.evidence.machine}' if run.evidence.machine else ''}."]
    return []


def status(report: Report) -> str:
    """That the run is not finished or not measured yet, and how to go on; empty where it is."""
    if report.finished:
        return _unmeasured(report)
    done = [
        f"{_of(run)} ({run.label})" if len(report.runs) > 1 else _of(run) for run in report.runs
    ]
    waiting = [f"{name}: not begun" for name in report.expected]
    what = "; ".join(done + waiting) or "no stage is done yet"
    return (
        f"This run is not finished: {what}. The report shows what there is so far. Give the same "
        "command again: it goes on where it stopped."
    )


def tiles(report: Report) -> list[Tile]:
    """The few figures at the top, of the first run."""
    if not report.runs:
        return []
    run, metric = report.runs[0], report.metric
    found: list[Tile] = []
    if filters := run.change("filters"):
        found.append(Tile(percent(filters.fraction), "of the filters kept"))
    name = "trained" if run.kind == "train" else "pruned"
    if metric and metric.name in run.judged(name):
        before = run.judged("dense").get(metric.name)
        compared = f", unpruned {metric.text(before)}" if before is not None else ""
        found.append(Tile(metric.text(run.judged(name)[metric.name]), f"{metric.label}{compared}"))
    if fast := fastest(run):
        found.append(Tile(milliseconds(fast.median), f"per call, {fast.name}"))
        speed, word = faster(fast.speedup).split(" ")
        found.append(Tile(speed, f"{word} than {first_timed(run)}"))
    return found


def terms(report: Report) -> list[Term]:
    """The words that a reader may not know."""
    if report.kind == "train":
        return []
    words = [
        Term(
            "Filter",
            "the small kernel (3 × 3 pixels, say) between one input channel and one output channel "
            "of a convolution: the unit that is pruned",
        ),
        Term("Unpruned (dense)", "the trained network with all its filters"),
        Term(
            "Pruning",
            "removing filters in stages, with some retraining after each, so that the ones that "
            "stay make up for those that are gone; the percentage kept is always of the unpruned "
            "network's filters that may be pruned",
        ),
        Term(
            "Compacted",
            "rewritten as a smaller network without the dead channels; its output is the same",
        ),
    ]
    for run in report.runs:
        for rule, meaning in _RULE_MEANINGS.items():
            if run.label.split(" (")[0] == rule:
                words.append(Term(rule, meaning))
    return list({term.word: term for term in words}.values())


def call(run: Run) -> str:
    """What a timed call was given."""
    shape = run.evidence.shape if run.evidence else ()
    if len(shape) != 4:
        return "one call" + (f" on an input of {' × '.join(map(str, shape))}" if shape else "")
    batch, channels, height, width = shape
    pictures = "one picture" if batch == 1 else f"{batch} pictures at a time"
    of_channels = f", {channels} channels" if channels > 1 else ""
    return f"{pictures} of {height} × {width} pixels{of_channels}"


def threads(count: int) -> str:
    """A number of threads."""
    return "one thread" if count == 1 else f"{count} threads" if count else "all threads"


def timing_note(report: Report) -> str:
    """How the networks were timed; empty where they were not."""
    tables = [run.evidence.timing for run in report.runs if run.evidence and run.evidence.timing]
    if not tables:
        return ""

    def each(values: list[str]) -> str:
        return " and ".join(dict.fromkeys(value for value in values if value))

    rounds = each([f"{table.rounds:,}" for table in tables])
    where = each([table.device for table in tables])
    whose = " of each rule" if len(report.runs) > 1 else ""
    return (
        f"The networks{whose} were timed in turn, one call of each per round ({rounds} rounds, "
        f"{each([threads(table.threads) for table in tables])}{f', {where}' if where else ''}), so "
        "that a busy moment of the machine hits all alike. A speed-up is the median over the "
        "rounds of the first row's time divided by this row's, with its own quartiles; the last "
        "column is a ratio of medians."
    )


def timed(run: Run) -> dict[str, Timing]:
    """The timed networks of a run by name; empty where nothing was timed."""
    table = run.evidence.timing if run.evidence else None
    return {row.name: row for row in table.rows} if table else {}


def fastest(run: Run) -> Timing | None:
    """The time of the pruned network on the kernels, else in PyTorch; None without either."""
    rows = timed(run)
    return next((rows[name] for name in (KERNEL_PRUNED, EAGER_COMPACT) if name in rows), None)


def first_timed(run: Run) -> str:
    """What speed-ups are against, in words."""
    name = next(iter(timed(run)), "")
    return "the unpruned network in PyTorch" if name == EAGER_DENSE else f"“{name}”"


def _pruned(report: Report, run: Run, alone: bool) -> str:
    total, several = report.total_filters, len(report.runs) > 1
    if not run.stages:
        return f"{run.label}: no stage is done yet" if several else "No stage is done yet"
    if run.result is None:
        return f"{run.label}: no stage is within the limits, the unpruned network stays"
    kept = run.result.kept or 0
    counted = f"{kept:,} of {total:,} filters" if total else f"{kept:,} filters"
    share = f" ({percent(kept / total)})" if total else ""
    start = f"{run.label} kept {counted}{share}" if several else f"{counted} kept{share}"
    parts = [part for part in (_change(run, report.metric), _faster(run, alone)) if part]
    return f"{start}: {', '.join(parts)}" if parts else start


def _change(run: Run, metric: Metric | None) -> str:
    if metric is None:
        return ""
    before, after = run.judged("dense").get(metric.name), run.judged("pruned").get(metric.name)
    if after is not None:
        arrow = f"{metric.text(before)} → " if before is not None else ""
        return f"{metric.label} {arrow}{metric.text(after)}"
    value = run.result.metrics.get(metric.name) if run.result else None
    return "" if value is None else f"{metric.label} {metric.text(value)} on validation pictures"


def _faster(run: Run, alone: bool) -> str:
    row = fastest(run)
    if row is None or not math.isfinite(row.speedup):
        return ""
    against = f" than {first_timed(run)}" if alone else ""
    return f"{faster(row.speedup)}{against}"


def _trained(report: Report) -> str:
    run, metric = report.runs[0], report.metric
    start = f"Trained for {run.done:,} steps"
    if metric is None:
        return start
    if metric.name in run.judged("trained"):
        shown = metric.text(run.judged("trained")[metric.name])
        return f"{start}: {metric.label} {shown} on test pictures"
    best = [stage for stage in run.stages if stage.best and metric.name in stage.metrics]
    if not best:
        return start
    shown = metric.text(best[-1].metrics[metric.name])
    return f"{start}: {metric.label} {shown} on validation pictures"


def _of(run: Run) -> str:
    unit = "steps" if run.kind == "train" else "stages"
    planned = f"{run.planned:,}" if run.planned is not None else "an unknown number of"
    return f"{run.done:,} of {planned} {unit} are done"


def _unmeasured(report: Report) -> str:
    missing = [run.label for run in report.runs if run.evidence is None]
    if not missing:
        return ""
    whose = f" ({', '.join(missing)})" if len(report.runs) > 1 else ""
    return (
        f"All stages are done, but the result has not been measured yet{whose}: test accuracy, "
        "speed and pictures are left out."
    )


def took(report: Report) -> str:
    """How long it took."""
    return duration(sum(run.seconds for run in report.runs))
