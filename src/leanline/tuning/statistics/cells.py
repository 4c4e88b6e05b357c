"""What the statistics are computed on: runs, by optimiser, space and budget."""

from __future__ import annotations

import pandas as pd

from leanline.errors import ConfigError

CELL = ["optimiser", "space", "budget"]
"""What tells the cells of a table apart."""

APART = ("protocol", "times")
"""Columns that a table need not have, but of which it may hold one value only."""


def checked_runs(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of runs as it is, if statistics can be made of it.

    Raises:
        ConfigError: It is empty, a column is missing, a fraction is not between 0 and 1, a run is
            there twice, or runs of two protocols, or of mean and drawn times, are mixed.
    """
    need(table, (*CELL, "fraction"))
    if not len(table):
        raise ConfigError("the table has no runs")
    wrong = table[~table["fraction"].between(0, 1)]
    if len(wrong):
        row = wrong.iloc[0]
        raise ConfigError(
            f"{row['optimiser']} on {row['space']} has a fraction of the optimum of "
            f"{row['fraction']}; between 0 and 1 is wanted"
        )
    if "run" in table.columns and table.duplicated([*CELL, "run"]).any():
        raise ConfigError(
            "the table holds a run twice; are two tables put together, of two protocols or seeds?"
        )
    return table


def need(table: pd.DataFrame, columns: tuple[str, ...]) -> None:
    """Refuse a table without some columns, or one that mixes protocols; raises ConfigError."""
    absent = [name for name in columns if name not in table.columns]
    if absent:
        raise ConfigError(
            f"the table has no column {absent[0]!r}; it has {', '.join(map(str, table.columns))}"
        )
    for name in APART:
        if name in table.columns and table[name].nunique(dropna=False) > 1:
            mixed = ", ".join(map(str, table[name].unique()))
            raise ConfigError(
                f"the table mixes runs of different {name} ({mixed}), which cannot be compared; "
                f"choose those of one of them"
            )
