"""Cells of the tables: what a result says, and how it is written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

EXACT = 1e-5
EXPORT = 1e-4
CONSTANT = 1e-3
DASH = "–"
OTHER = "Torch-Pruning"

Row = dict[str, Any]


def deviation(case: Row) -> float | None:
    """The larger one, if it was looked at twice; None of a case that failed."""
    if "deviation" not in case:
        return None
    return float(max(part["deviation"] for part in (case, case.get("recalibrated", case))))


def response(case: Row) -> float:
    """How much the output changes, in the comparison in which it changes most."""
    parts = (case, case.get("recalibrated", case))
    return float(max(part.get("response", 1.0) for part in parts))


def failed(case: Row) -> bool:
    return "error" in case.get("torch_pruning", {})


def all_cases(networks: dict[str, Row]) -> Iterable[tuple[str, Row, Row]]:
    return ((name, found, case) for name, found in networks.items() for case in found["cases"])


def median_ms(case: Row, name: str) -> float:
    """Median milliseconds, 0 if it was not timed."""
    return float(case.get("times", {}).get(name, {"ms": [0, 0, 0]})["ms"][1])


def milliseconds(case: Row, name: str) -> str:
    """Milliseconds and the speed-up against the dense network."""
    if not median_ms(case, name):
        return DASH
    return f"{median_ms(case, name):.3g} ({case['times'][name]['speedup'][1]:.2f}x)"


def percent(part: float | None, whole: float | None) -> str:
    return f"{100 * part / whole:.3g} %" if part is not None and whole else DASH


def count(number: int | None) -> str:
    if number is None:
        return DASH
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= unit:
            return f"{number / unit:.3g}{name}"
    return str(number)


def largest(exports: Sequence[Row], key: str) -> str:
    values = [export[key] for export in exports if key in export]
    return number(max(values, default=None))


def number(value: float | None) -> str:
    if value is None:
        return DASH
    return f"{value:.0e}" if value else "0"


def spread(values: Sequence[float]) -> str:
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return f"{middle:.2f} ({low:.2f} .. {high:.2f})"


def code(text: str) -> str:
    return "`" + text.replace("`", "'") + "`"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
