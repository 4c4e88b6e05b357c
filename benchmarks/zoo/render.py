"""Results as a page of Markdown: what each network became, and beside what."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

EXACT = 1e-5
EXPORT = 1e-4
CONSTANT = 1e-3
DASH = "–"
OTHER = "Torch-Pruning"

Row = dict[str, Any]

BESIDE = """\
The columns "T-P" show the same network pruned by Torch-Pruning to the same number of multiply-adds:
to 3 %, by a search for its ratio; \\* where it cannot come that near, or that low, and a dash where
it drops nothing or fails. It weighs groups by their magnitude, uses one ratio for all layers, and
ignores the layers that make the outputs, as its documentation recommends. The ratio of a group is
capped so that one channel stays: without that it would leave such a group whole."""


def render(document: dict[str, Any], note: str = "") -> str:
    """The page.

    Args:
        document: what `benchmarks.zoo.run` wrote.
        note: a sentence on where the networks come from.
    """
    networks: dict[str, Row] = document["networks"]
    criteria = list(dict.fromkeys(case["criterion"] for _, _, case in _cases(networks)))
    parts = [_heading(document, note), _overview(document), _networks_table(networks)]
    parts += [_cases_table(networks, criterion) for criterion in criteria]
    parts += [_exports(networks), _problems(networks)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _heading(document: dict[str, Any], note: str) -> str:
    names = " ".join(f"{keep:g}" for keep in document["keeps"])
    other = document["torch_pruning"]
    versions = f"PyTorch {document['torch']}, leanline {document['leanline']}"
    versions += f", Torch-Pruning {other}" if other else ""
    beside = f"\n\n{BESIDE}" if other else ""
    return f"""\
# Many networks, pruned and compacted

What pruning and compaction make of networks of many kinds: sizes, times and exactness.
{note or "The weights are those that the networks are built with."} Batch norms hold the
statistics of a batch of random inputs. Nothing is retrained, so these tables say nothing about
accuracy, and little about which filters of a trained network would stay.

Times are those of PyTorch, eager, on one thread, of the smaller network as `ll.compact` returns it;
leanline's own kernels have a column of their own, which is empty where they cannot run the network.
All times of a row come from one interleaved run with the unpruned network in it, and the speed-up
in brackets is against that; quartiles are in the file of the results. "Filters" counts those that
are alive. "Deviation" is the largest difference between the outputs of the compact network and of
the masked one, relative to the largest output, on random inputs other than those that `ll.compact`
checks itself. Networks that answer everything with a constant, because nothing was retrained,
are compared once more with batch-norm statistics of their own; "constant" marks those that still
do, of which a comparison says little. "s" is what selecting, cleaning and compacting took.{beside}

Machine: {document["machine"]}, one thread. {versions}. To repeat it, with any Python file that
offers a list of names, `DEV`, and `build(name)`, which returns a network and its inputs:

```console
$ python -m benchmarks.zoo --networks FILE.py --keep {names} --out results.json --resume
$ python -m benchmarks.zoo --render results.json > networks.md
```"""


def _overview(document: dict[str, Any]) -> str:
    networks = document["networks"]
    cases = [case for _, _, case in _cases(networks)]
    made = [case for case in cases if "error" not in case]
    short = [found for found in networks.values() if not found.get("complete")]
    errors = [error for case in made if (error := _deviation(case)) is not None]
    exact = [error for error in errors if error <= EXACT]
    lines = [
        f"- {len(networks)} networks, {len(cases)} cases; {len(made)} were compacted, "
        f"{sum(case['nothing_to_drop'] for case in made)} of them without anything to drop, and "
        f"{len(cases) - len(made)} failed."
        + (f" {len(short)} networks did not come to their end." if short else ""),
        f"- {len(exact)} of {len(made)} deviate by at most {EXACT:.0e} in float32"
        + (f", the largest deviation is {max(errors):.1e}." if errors else "."),
    ]
    for criterion in dict.fromkeys(case["criterion"] for case in cases):
        lines += _against_other([case for case in made if case["criterion"] == criterion])
    return "## In short\n\n" + "\n".join(lines)


def _against_other(cases: Sequence[Row]) -> list[str]:
    """One line on the cases in which both have the same multiply-adds."""
    both = [
        case for case in cases if case.get("torch_pruning", {}).get("equal") and _ms(case, OTHER)
    ]
    if not both:
        return []
    times = [_ms(case, OTHER) / _ms(case, "compact") for case in both]
    sizes = [case["torch_pruning"]["parameters"] / case["parameters"] for case in both]
    return [
        f"- {both[0]['criterion']}: at equal multiply-adds ({len(both)} cases) Torch-Pruning's "
        f"network takes {_spread(times)} times as long as the compact one, and has "
        f"{_spread(sizes)} times the parameters (median and quartiles over the cases)."
    ]


def _networks_table(networks: dict[str, Row]) -> str:
    head = ("network", "input", "filters", "parameters", "multiply-adds", "ms", OTHER)
    rows = []
    for name, found in networks.items():
        times = [ms for case in found["cases"] if (ms := _ms(case, "dense"))]
        rows.append(
            (
                name,
                ", ".join("x".join(map(str, shape)) for shape in found.get("shapes", [])) or DASH,
                _count(found.get("filters")),
                _count(found.get("parameters")),
                _count(found.get("macs")),
                f"{statistics.median(times):.3g}" if times else DASH,
                _works(found),
            )
        )
    return "## The networks, unpruned\n\n" + _table(head, rows)


def _cases_table(networks: dict[str, Row], criterion: str) -> str:
    head = (
        *("network", "keep", "filters", "multiply-adds", "parameters", "ms", "kernels, ms"),
        *("deviation", "T-P: multiply-adds", "T-P: parameters", "T-P: ms", "s", ""),
    )
    rows = [
        _case_row(name, found, case)
        for name, found, case in _cases(networks)
        if case["criterion"] == criterion
    ]
    return f"## Pruned by {criterion}\n\n" + _table(head, rows)


def _case_row(name: str, found: Row, case: Row) -> Sequence[str]:
    other = case.get("torch_pruning", {})
    if not other.get("ratio"):
        other = {}
    missed = "" if other.get("equal", True) else " \\*"
    took = sum(case["seconds"].values())
    notes = [
        "failed" if "error" in case else "",
        "nothing to drop" if case.get("nothing_to_drop") else "",
        f"least possible: {100 * case['keep_used']:.2g} %" if "keep_used" in case else "",
        "constant" if _response(case) < CONSTANT else "",
    ]
    return (
        name,
        f"{case['keep']:g}",
        _percent(case.get("kept"), found.get("filters")),
        _percent(case.get("macs"), found.get("macs")),
        _percent(case.get("parameters"), found.get("parameters")),
        _time(case, "compact"),
        _time(case, "kernels"),
        _error(_deviation(case)),
        _percent(other.get("macs"), found.get("macs")) + missed,
        _percent(other.get("parameters"), found.get("parameters")),
        _time(case, OTHER),
        f"{took:.2g}" if "deviation" in case else DASH,
        "; ".join(note for note in notes if note),
    )


def _exports(networks: dict[str, Row]) -> str:
    """One row a network that makes images: how many of its cases could be exported."""
    rows, problems = [], []
    for name, found in networks.items():
        tried = [
            (case, case["onnx"])
            for case in found["cases"]
            if "onnx" in case and "skipped" not in case["onnx"]
        ]
        if not tried:
            continue
        done = [export for _, export in tried if "error" not in export]
        rows.append(
            (
                name,
                f"{len(done)} of {len(tried)}",
                _largest(done, "deviation"),
                _largest(done, "deviation_larger"),
                f"{statistics.median(e['seconds'] for e in done):.2g}" if done else DASH,
            )
        )
        for case, export in tried:
            problems += [
                f"- {name}, {case['criterion']}, {case['keep']:g}: {_code(text)}"
                for key, text in export.items()
                if key.endswith("error")
            ]
            worst = max(export.get("deviation", 0), export.get("deviation_larger", 0))
            if worst > EXPORT:
                problems.append(
                    f"- {name}, {case['criterion']}, {case['keep']:g}: deviates by {worst:.1e}"
                )
    if not rows:
        return ""
    head = ("network", "exported", "deviation", "... at twice the size and batch", "s")
    text = (
        "## Export to ONNX\n\nNetworks whose output is an image. The deviation is that of ONNX "
        "Runtime from the compact network in PyTorch, the largest of all cases.\n\n"
    )
    return text + _table(head, rows) + ("\n\n" + "\n".join(problems) if problems else "")


def _problems(networks: dict[str, Row]) -> str:
    lines = []
    for name, found in networks.items():
        lines += [f"- {name}: {_code(found[key])}" for key in ("error", "ended") if key in found]
        if "error" in found.get("torch_pruning", {}):
            lines.append(f"- {name}, {OTHER}: {_code(found['torch_pruning']['error'])}")
        if found.get("adapted"):
            lines.append(f"- {name} takes a dictionary or list, and was called through an adapter.")
        for case in found["cases"]:
            where = f"{name}, {case['criterion']}, keep {case['keep']:g}"
            for key in ("error", "timing_error", "refused"):
                if key in case:
                    lines.append(f"- {where}: {_code(case[key])}")
            if case.get("deviation", 0) > EXACT:
                fine = _error(case.get("deviation_float64"))
                lines.append(
                    f"- {where}: deviates by {case['deviation']:.1e} in float32, {fine} in float64"
                )
            again = case.get("recalibrated", {}).get("deviation", 0)
            if again > EXACT:
                lines.append(f"- {where}: deviates by {again:.1e} with statistics of its own")
        errors = [case["torch_pruning"]["error"] for case in found["cases"] if _failed(case)]
        for text in dict.fromkeys(errors):
            lines.append(f"- {name}, {OTHER} ({errors.count(text)} cases): {_code(text)}")
    return "## Remarks and failures\n\n" + "\n".join(lines) if lines else ""


def _deviation(case: Row) -> float | None:
    """The larger one, if it was looked at twice; None of a case that failed."""
    if "deviation" not in case:
        return None
    return float(max(part["deviation"] for part in (case, case.get("recalibrated", case))))


def _response(case: Row) -> float:
    """How much the output changes, in the comparison in which it changes most."""
    parts = (case, case.get("recalibrated", case))
    return float(max(part.get("response", 1.0) for part in parts))


def _works(found: Row) -> str:
    if "torch_pruning" not in found:
        return DASH
    pruned = [case for case in found["cases"] if "torch_pruning" in case]
    if "error" in found["torch_pruning"] or (pruned and all(map(_failed, pruned))):
        return "fails"
    untouched = [case["torch_pruning"].get("macs") == found["macs"] for case in pruned]
    return "finds nothing to prune" if pruned and all(untouched) else "works"


def _failed(case: Row) -> bool:
    return "error" in case.get("torch_pruning", {})


def _cases(networks: dict[str, Row]) -> Iterable[tuple[str, Row, Row]]:
    return ((name, found, case) for name, found in networks.items() for case in found["cases"])


def _ms(case: Row, name: str) -> float:
    """Median milliseconds, 0 if it was not timed."""
    return float(case.get("times", {}).get(name, {"ms": [0, 0, 0]})["ms"][1])


def _time(case: Row, name: str) -> str:
    """Milliseconds and the speed-up against the dense network."""
    if not _ms(case, name):
        return DASH
    return f"{_ms(case, name):.3g} ({case['times'][name]['speedup'][1]:.2f}x)"


def _percent(part: float | None, whole: float | None) -> str:
    return f"{100 * part / whole:.3g} %" if part is not None and whole else DASH


def _count(number: int | None) -> str:
    if number is None:
        return DASH
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= unit:
            return f"{number / unit:.3g}{name}"
    return str(number)


def _largest(exports: Sequence[Row], key: str) -> str:
    values = [export[key] for export in exports if key in export]
    return _error(max(values, default=None))


def _error(value: float | None) -> str:
    if value is None:
        return DASH
    return f"{value:.0e}" if value else "0"


def _spread(values: Sequence[float]) -> str:
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return f"{middle:.2f} ({low:.2f} .. {high:.2f})"


def _code(text: str) -> str:
    return "`" + text.replace("`", "'") + "`"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
