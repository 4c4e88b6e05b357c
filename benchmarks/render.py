"""``python -m benchmarks.render RESULTS.json [--into PAGE.md]``: the speed tables as Markdown.

With ``--into`` what stands between the two markers of the page is replaced; else it is printed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.limits import Limits
from benchmarks.targets import INFERENCE, RETRAINING
from leanline.experiments.evidence import (
    EAGER_COMPACT,
    EAGER_DENSE,
    KERNEL_DENSE,
    KERNEL_PRUNED,
    ONNX_COMPACT,
)
from leanline.records.atomic import write_text

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"

Result = Mapping[str, Any]


def markdown(content: Mapping[str, Any]) -> str:
    """All tables of a results file of the parts "inference" and "retraining"."""
    results = content["results"]
    runs = [result for result in results if result["what"] == INFERENCE]
    steps = [result for result in results if result["what"] == RETRAINING]
    parts = [f"{content['machine']}, PyTorch {content['torch']}, float32, 256 x 256 pixels."]
    if runs:
        parts += [_limits(runs)]
    for title, chosen in _by_kind(runs).items():
        parts += [f"**{title}**, milliseconds a call:", _times(chosen)]
    if runs:
        parts += ["**How far it is from the limits**:", _distances(runs)]
    if steps:
        parts += [
            "**A retraining step**, forward and backward, one thread, milliseconds:",
            _steps(steps),
        ]
    parts += ["**Targets**, ratios of medians:", _targets(results)]
    return "\n\n".join(parts) + "\n"


def _by_kind(runs: Sequence[Result]) -> dict[str, list[Result]]:
    kinds: dict[str, list[Result]] = {}
    for run in runs:
        title = f"{_count(run['batch'], 'picture')} a call, {_count(run['threads'], 'thread')}"
        kinds.setdefault(title[0].upper() + title[1:], []).append(run)
    return kinds


def _count(count: int, what: str) -> str:
    words = {1: "one", 2: "two", 3: "three", 4: "four"}
    return f"{words.get(count, count)} {what}{'s' * (count != 1)}"


def _limits(runs: Sequence[Result]) -> str:
    found = {run["threads"]: str(Limits(**run["limits"])) for run in runs}
    return "Limits measured in the run: " + "; ".join(found.values()) + "."


def _times(runs: Iterable[Result]) -> str:
    rows = []
    for run in runs:
        spread = {row["name"]: f"{_ms(row['low'])} to {_ms(row['high'])}" for row in run["rows"]}
        for one in run["variants"]:
            times = {**run["dense"], **one}
            baselines = (EAGER_DENSE, KERNEL_DENSE, EAGER_COMPACT, ONNX_COMPACT)
            quartiles = spread[f"{one['variant']}: {KERNEL_PRUNED}"]
            rows.append(
                [
                    f"{run['network']}; {one['variant']}",
                    *(_ms(times[name]) for name in baselines),
                    f"**{_ms(one[KERNEL_PRUNED])}** ({quartiles})",
                    *(
                        _ratio(one["ratios"][name])
                        for name in (EAGER_DENSE, KERNEL_DENSE, ONNX_COMPACT)
                    ),
                ]
            )
    heads = ["", "eager, dense", "own kernel, dense", "eager, compacted", "ONNX, compacted"]
    against = ["against eager dense", "own dense", "ONNX compacted"]
    return _table([*heads, "pruned (quartiles)", *against], rows)


def _distances(runs: Iterable[Result]) -> str:
    rows = []
    for run in runs:
        before = run["variants"][0]["macs"][0] if run["variants"] else 0
        dense = {**run["dense"], "macs": [before, before], "variant": "dense"}
        for one in (dense, *run["variants"]):
            taken = one[KERNEL_DENSE if one is dense else KERNEL_PRUNED]
            kind = f"{_count(run['threads'], 'thread')}, {_count(run['batch'], 'picture')}"
            macs = one["macs"][1] * 1e-9
            rows.append(
                [
                    f"{run['network']}; {one['variant']}; {kind}",
                    f"{macs:.3g} G ({one['macs'][0] / one['macs'][1]:.1f}x)",
                    _ms(taken),
                    f"{one['GFLOP/s']:.0f}",
                    _ms(one["limit"]["arithmetic"]),
                    _ms(one["limit"]["bytes"]),
                    f"{100 * one['of the limit']:.0f} %",
                ]
            )
    heads = ["", "multiply-adds a picture (fewer than dense)", "ms", "GFLOP/s"]
    return _table([*heads, "ms at peak arithmetic", "ms at cache speed", "reached"], rows)


def _steps(steps: Iterable[Result]) -> str:
    rows = []
    for step in steps:
        times = {row["name"]: row for row in step["rows"]}
        fast = times[KERNEL_PRUNED]
        rows.append(
            [
                f"{step['network']}; {step['variant']}",
                _ms(times[EAGER_COMPACT]["median"]),
                _ms(times[KERNEL_DENSE]["median"]),
                f"**{_ms(fast['median'])}** ({_ms(fast['low'])} to {_ms(fast['high'])})",
                _ratio(step["ratios"][EAGER_COMPACT]),
            ]
        )
    heads = ["", "eager, compacted", "own kernel, dense", "pruned (quartiles)"]
    return _table([*heads, "against eager compacted"], rows)


def _targets(results: Iterable[Result]) -> str:
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for result in results:
        for target in result.get("targets", []):
            what = f"{target['network']}; {target['variant']}"
            if target["what"] != INFERENCE:
                what += f"; {target['what']}"
            key = (what, target["against"], f"{target['at_least']:g}x")
            found.setdefault(key, {})[result["threads"]] = target
    threads = sorted({count for row in found.values() for count in row})
    rows = [
        [*key, *(_verdict(row[count]) if count in row else "" for count in threads)]
        for key, row in found.items()
    ]
    return _table(["", "against", "target", *(_count(n, "thread") for n in threads)], rows)


def _verdict(target: Mapping[str, Any]) -> str:
    return f"{_ratio(target['found'])}, {'met' if target['met'] else '**missed**'}"


def _ms(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _ratio(value: float) -> str:
    return f"{value:.0f}x" if value >= 100 else f"{value:.3g}x"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def replace(page: str, tables: str) -> str:
    """The page with the tables between its markers.

    Raises:
        ValueError: it does not hold each marker once, in order.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in rest or END in before + after:
        raise ValueError(f"the page needs one line {BEGIN!r} and, below it, one line {END!r}")
    return f"{before}{begin}\n\n{tables}\n{end}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="what python -m benchmarks --out wrote")
    parser.add_argument("--into", type=Path, help="Markdown page with markers")
    given = parser.parse_args()
    tables = markdown(json.loads(given.results.read_text(encoding="utf-8")))
    if given.into:
        write_text(given.into, replace(given.into.read_text(encoding="utf-8"), tables))
    else:
        print(tables)


if __name__ == "__main__":
    main()
