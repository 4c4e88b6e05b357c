"""Results as a person reads them: aligned columns of plain text."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Rows under their column names, words to the left; columns that no row has are left out."""
    rows = list(rows)
    shown = [column for column in columns if any(column in row for row in rows)]
    cells = [[number(row.get(column, "")) for column in shown] for row in rows]
    heads = [column.removeprefix("metric.") for column in shown]
    widths = [max(len(cell) for cell in column) for column in zip(heads, *cells, strict=True)]
    words = [all(isinstance(row.get(column, ""), str) for row in rows) for column in shown]
    sides = ["<" if word else ">" for word in words]
    return "\n".join(
        "  ".join(f"{c:{s}{w}}" for c, s, w in zip(line, sides, widths, strict=True)).rstrip()
        for line in [heads, *cells]
    )


def number(value: Any) -> str:
    """A number with as many digits as a reader needs."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "", None: ""}[value]
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4g}" if math.isfinite(value) else str(value)


def metrics(values: Mapping[str, Any]) -> str:
    """Metrics in one line, such as "accuracy 0.9457, f1 0.93"."""
    return ", ".join(f"{name} {number(value)}" for name, value in values.items())
