"""How much better: the chance that a run of one optimiser beats a run of another."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float64

from leanline.errors import ConfigError
from leanline.tuning.statistics.cells import CELL, checked_runs


def a12(first: Float64[np.ndarray, "_"], second: Float64[np.ndarray, "_"]) -> float:
    """The chance that a value of the first sample is above one of the second, ties counting half.

    A. Vargha and H. D. Delaney, "A critique and improvement of the CL common language effect size
    statistics of McGraw and Wong", Journal of Educational and Behavioral Statistics 25 (2000). 0.5
    is no difference; they call 0.56, 0.64 and 0.71 a small, medium and large one.
    """
    above = (first[:, None] > second).mean()
    return float(above + 0.5 * (first[:, None] == second).mean())


def effect_sizes(table: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Compare every optimiser's runs with those of one, on each space and budget.

    Args:
        table: A row a run, as `benchmark` returns it.
        reference: The optimiser that the others are compared with.

    Returns:
        Columns optimiser, space, budget, a12: the chance that a run of the optimiser finds a better
        solution than one of the reference. Where the reference has no runs there is no row.

    Raises:
        ConfigError: The table is wrong, or has no such optimiser.
    """
    names = list(checked_runs(table)["optimiser"].unique())
    if reference not in names:
        raise ConfigError(f"there is no optimiser {reference!r} in the table; it has {names}")
    samples = {key: group.to_numpy(float) for key, group in table.groupby(CELL)["fraction"]}
    rows = [
        (*key, a12(sample, samples[(reference, *key[1:])]))
        for key, sample in samples.items()
        if key[0] != reference and (reference, *key[1:]) in samples
    ]
    return pd.DataFrame(rows, columns=[*CELL, "a12"])
