"""The results of an experiment as one tidy table, in a Parquet file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from leanline.errors import RunError
from leanline.experiments.cells import Cell, Pair, read_json
from leanline.experiments.sweep import Sweep
from leanline.experiments.timing import COMPILED, EAGER, timing_file
from leanline.records.atomic import atomic_write

FILE = "results.parquet"

DENSE = "dense"
"""The `criterion` of the unpruned network, whose seed and stage are 0."""

KEYS = ["network", "data", "criterion", "seed", "stage"]


def collect(sweep: Sweep) -> pd.DataFrame:
    """A row for each stage of each cell, and one for each dense network.

    Columns: those of `KEYS`; keep (the fraction asked for), kept_filters and filters (alive, and of
    the unpruned network), live (their ratio); channels, macs, parameters (of what is alive) with
    dense_channels, dense_macs, dense_parameters; val_NAME for each metric; train_loss; seconds (of
    selection, retraining and judging); test_NAME, where the stage was judged on test pictures;
    ms, ms_low, ms_high (median and quartiles) and speedup, speedup_low, speedup_high (against the
    dense network in PyTorch), where it was timed.
    """
    rows = []
    for pair in sweep.pairs:
        times = _times(pair)
        if pair.dense_file.exists():
            rows.append(_dense_row(pair, times))
        for cell in sweep.of_pair(pair):
            rows += _cell_rows(cell, times)
    table = pd.DataFrame(rows, columns=None if rows else KEYS)
    return table.sort_values(KEYS, kind="stable", ignore_index=True)


def write_results(table: pd.DataFrame, folder: Path) -> None:
    """Write the table into an experiment's folder, completely or not at all."""
    with atomic_write(folder / FILE) as temporary:
        table.to_parquet(temporary, index=False)


def read_results(folder: Path) -> pd.DataFrame:
    """The table of an experiment's folder.

    Raises:
        RunError: it is missing or damaged.
    """
    try:
        return pd.read_parquet(folder / FILE)
    except (OSError, ValueError) as error:
        raise RunError(f"{folder / FILE} cannot be read: {error}") from error


def _cell_rows(cell: Cell, times: dict[str, Any]) -> list[dict[str, Any]]:
    names = (cell.pair.network, cell.pair.data, cell.criterion, cell.seed)
    test = read_json(cell.test_file) if cell.test_file.exists() else {}
    rows = []
    for stage in cell.stages():
        if not cell.sizes_file(stage.index).exists():
            continue  # the process was killed between the two
        metrics = dict(stage.metrics)
        row: dict[str, Any] = dict(zip(KEYS, (*names, stage.index), strict=True))
        row |= {"keep": stage.keep, **_sizes(cell.sizes(stage.index))}
        row |= {"train_loss": metrics.pop("train_loss", None)}
        row |= {f"val_{name}": value for name, value in metrics.items()}
        row |= {f"test_{name}": v for name, v in test.get(str(stage.index), {}).items()}
        row |= times.get(str(stage.index), {}).get("rows", {}).get(cell.key, {})
        rows.append({**row, "seconds": stage.seconds})
    return rows


def _dense_row(pair: Pair, times: dict[str, Any]) -> dict[str, Any]:
    found = read_json(pair.dense_file)
    row: dict[str, Any] = dict(zip(KEYS, (pair.network, pair.data, DENSE, 0, 0), strict=True))
    row |= {"keep": 1.0, **_sizes(found), "seconds": found["seconds"]}
    row |= {f"val_{name}": value for name, value in found["metrics"].items()}
    if pair.test_file.exists():
        row |= {f"test_{name}": value for name, value in read_json(pair.test_file).items()}
    timed = [each["rows"] for each in times.values()]
    for name in (EAGER, COMPILED):  # the medians over all stages
        found_rows = pd.DataFrame([rows[name] for rows in timed if name in rows])
        prefix = "eager_" if name == EAGER else ""
        row |= {f"{prefix}{key}": float(v) for key, v in found_rows.median().items()}
    return row


def _times(pair: Pair) -> dict[str, Any]:
    return read_json(timing_file(pair)) if timing_file(pair).exists() else {}


def _sizes(found: dict[str, Any]) -> dict[str, Any]:
    filters, kept = found["filters"]
    sizes = {"kept_filters": kept, "filters": filters, "live": kept / filters}
    for name in ("channels", "macs", "parameters"):
        before, after = found[name]
        sizes |= {name: after, f"dense_{name}": before}
    return sizes
