"""Results as a page of Markdown: what each network became, and beside what."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.zoo.cells import (
    CONSTANT,
    DASH,
    EXACT,
    OTHER,
    Row,
    all_cases,
    count,
    deviation,
    failed,
    median_ms,
    milliseconds,
    number,
    percent,
    response,
    spread,
    table,
)
from benchmarks.zoo.remarks import exports_table, remarks

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
    criteria = list(dict.fromkeys(case["criterion"] for _, _, case in all_cases(networks)))
    parts = [_heading(document, note), _overview(document), _networks_table(networks)]
    parts += [_cases_table(networks, criterion) for criterion in criteria]
    parts += [exports_table(networks), remarks(networks)]
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
    cases = [case for _, _, case in all_cases(networks)]
    made = [case for case in cases if "error" not in case]
    short = [found for found in networks.values() if not found.get("complete")]
    errors = [error for case in made if (error := deviation(case)) is not None]
    exact = [error for error in errors if error <= EXACT]
    lines = [
        f"- {len(networks)} networks, {len(cases)} cases; {len(made)} were compacted, "
        f"{sum(case['nothing_to_drop'] for case in made)} of them without anything to drop, and "
        f"{len(cases) - len(made)} failed."
        + (f" {len(short)} networks did not come to their end." if short else ""),
        f"- {len(exact)} of {len(made)} deviate by at most {EXACT:.0e} in float32"
        + (f", the largest deviation is {max(errors):.1e}." if errors else "."),
    ]
    larger = [
        case["larger"] for case in made if "refused" not in case.get("larger", {"refused": 1})
    ]
    if larger:
        same = sum(found.get("deviation", 1) <= EXACT for found in larger)
        lines.append(
            f"- At twice the height, width and batch, {same} of {len(larger)} compact networks "
            "agree with theirs to the same figure, of those that take such inputs."
        )
    for criterion in dict.fromkeys(case["criterion"] for case in cases):
        lines += _against_other([case for case in made if case["criterion"] == criterion])
    return "## In short\n\n" + "\n".join(lines)


def _against_other(cases: Sequence[Row]) -> list[str]:
    """One line on the cases in which both have the same multiply-adds."""
    equal = [case for case in cases if case.get("torch_pruning", {}).get("equal")]
    both = [case for case in equal if median_ms(case, OTHER)]
    if not both:
        return []
    times = [median_ms(case, OTHER) / median_ms(case, "compact") for case in both]
    sizes = [case["torch_pruning"]["parameters"] / case["parameters"] for case in both]
    return [
        f"- {both[0]['criterion']}: at equal multiply-adds ({len(both)} cases) Torch-Pruning's "
        f"network takes {spread(times)} times as long as the compact one, and has "
        f"{spread(sizes)} times the parameters (median and quartiles over the cases)."
    ]


def _networks_table(networks: dict[str, Row]) -> str:
    head = ("network", "input", "filters", "parameters", "multiply-adds", "ms", OTHER)
    rows = []
    for name, found in networks.items():
        times = [ms for case in found["cases"] if (ms := median_ms(case, "dense"))]
        rows.append(
            (
                name,
                ", ".join("x".join(map(str, shape)) for shape in found.get("shapes", [])) or DASH,
                count(found.get("filters")),
                count(found.get("parameters")),
                count(found.get("macs")),
                f"{statistics.median(times):.3g}" if times else DASH,
                _works(found),
            )
        )
    return "## The networks, unpruned\n\n" + table(head, rows)


def _cases_table(networks: dict[str, Row], criterion: str) -> str:
    head = (
        *("network", "keep", "filters", "multiply-adds", "parameters", "ms", "kernels, ms"),
        *("deviation", "T-P: multiply-adds", "T-P: parameters", "T-P: ms", "s", ""),
    )
    rows = [
        _case_row(name, found, case)
        for name, found, case in all_cases(networks)
        if case["criterion"] == criterion
    ]
    return f"## Pruned by {criterion}\n\n" + table(head, rows)


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
        "constant" if response(case) < CONSTANT else "",
    ]
    return (
        name,
        f"{case['keep']:g}",
        percent(case.get("kept"), found.get("filters")),
        percent(case.get("macs"), found.get("macs")),
        percent(case.get("parameters"), found.get("parameters")),
        milliseconds(case, "compact"),
        milliseconds(case, "kernels"),
        number(deviation(case)),
        percent(other.get("macs"), found.get("macs")) + missed,
        percent(other.get("parameters"), found.get("parameters")),
        milliseconds(case, OTHER),
        f"{took:.2g}" if "deviation" in case else DASH,
        "; ".join(note for note in notes if note),
    )


def _works(found: Row) -> str:
    if "torch_pruning" not in found:
        return DASH
    pruned = [case for case in found["cases"] if "torch_pruning" in case]
    if "error" in found["torch_pruning"] or (pruned and all(map(failed, pruned))):
        return "fails"
    untouched = [case["torch_pruning"].get("macs") == found["macs"] for case in pruned]
    return "finds nothing to prune" if pruned and all(untouched) else "works"
