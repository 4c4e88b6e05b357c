"""The results of a sweep as tidy tables, in Parquet files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from leanline.errors import RunError
from leanline.experiments.cells import Cell, Pair, read_json
from leanline.experiments.sweep import Sweep
from leanline.records.atomic import atomic_write

STAGES, TEST = "results.parquet", "test.parquet"
"""Rows are stages judged on validation pictures; and the chosen ones on test pictures."""

DENSE = "dense"
"""The `criterion` of the unpruned network, whose seed and stage are 0."""

KEYS = ["network", "data", "criterion", "seed", "stage"]


def collect_stages(sweep: Sweep) -> pd.DataFrame:
    """A row for each stage of each cell, and one for each dense network.

    Columns: those of `KEYS`; keep (the fraction asked for), kept_filters and filters (alive, and of
    the unpruned network), live (their ratio); channels, macs, parameters (of what is alive) with
    dense_channels, dense_macs, dense_parameters; val_NAME for each metric; train_loss; seconds.
    """
    rows = []
    for pair in sweep.pairs:
        if pair.dense_file.exists():
            rows.append(_dense_row(pair))
    for cell in sweep.cells:
        for stage in cell.stages():
            if cell.sizes_file(stage.index).exists():
                metrics = dict(stage.metrics)
                found: dict[str, Any] = {**_keys(cell, stage.index), "keep": stage.keep}
                found |= _sizes(cell.sizes(stage.index))
                found |= {"train_loss": metrics.pop("train_loss", None)}
                found |= {f"val_{name}": value for name, value in metrics.items()}
                rows.append({**found, "seconds": stage.seconds})
    return _table(rows)


def collect_test(sweep: Sweep) -> pd.DataFrame:
    """A row for each network that was judged on test pictures, with test_NAME for each metric."""
    rows = []
    for pair in sweep.pairs:
        file = pair.folder / "test.json"
        if file.exists():
            row = _dense_row(pair)
            row = {key: row[key] for key in [*KEYS, "keep", "kept_filters", "filters", "live"]}
            rows.append(row | {f"test_{k}": v for k, v in read_json(file).items()})
    for cell in sweep.cells:
        if cell.test_file.exists():
            done = {stage.index: stage for stage in cell.stages()}
            for index, metrics in sorted(
                read_json(cell.test_file).items(), key=lambda i: int(i[0])
            ):
                stage = done[int(index)]
                row = {**_keys(cell, stage.index), "keep": stage.keep}
                sizes = _sizes(cell.sizes(stage.index))
                row |= {key: sizes[key] for key in ("kept_filters", "filters", "live")}
                rows.append(row | {f"test_{name}": value for name, value in metrics.items()})
    return _table(rows)


def write_table(table: pd.DataFrame, file: Path) -> None:
    """Write a table as Parquet, completely or not at all."""
    with atomic_write(file) as temporary:
        table.to_parquet(temporary, index=False)


def read_table(file: Path) -> pd.DataFrame:
    """Read a table that `write_table` wrote.

    Raises:
        RunError: it is missing or damaged.
    """
    try:
        return pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise RunError(f"{file} cannot be read: {error}") from error


def _keys(cell: Cell, stage: int) -> dict[str, Any]:
    names = (cell.pair.network, cell.pair.data, cell.criterion, cell.seed, stage)
    return dict(zip(KEYS, names, strict=True))


def _dense_row(pair: Pair) -> dict[str, Any]:
    found = read_json(pair.dense_file)
    names = dict(zip(KEYS, (pair.network, pair.data, DENSE, 0, 0), strict=True))
    metrics = {f"val_{name}": value for name, value in found["metrics"].items()}
    return {**names, "keep": 1.0, **_sizes(found), **metrics, "seconds": found["seconds"]}


def _sizes(found: dict[str, Any]) -> dict[str, Any]:
    filters, kept = found["filters"]
    sizes = {"kept_filters": kept, "filters": filters, "live": kept / filters}
    for name in ("channels", "macs", "parameters"):
        before, after = found[name]
        sizes |= {name: after, f"dense_{name}": before}
    return sizes


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=None if rows else KEYS)
    return table.sort_values(KEYS, kind="stable", ignore_index=True)
