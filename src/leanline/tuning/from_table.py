"""Measurements of a space from a data frame, as somebody who timed a kernel has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from leanline.errors import DataError
from leanline.tuning.files.entries import Entry, from_entries
from leanline.tuning.measurements import Measurements
from leanline.tuning.space import SearchSpace


def from_table(
    space: SearchSpace, table: pd.DataFrame, *, kernel: str, device: str = ""
) -> Measurements:
    """Make measurements of a table.

    ```python
    table = pd.DataFrame({"block_size_x": [16, 16, 32], "time": [1.21, 1.19, float("inf")]})
    measurements = from_table(space, table, kernel="blur", device="A100")
    ```

    Args:
        space: The space.
        table: A column for each parameter and a column ``time`` in ms. Several rows of one
            configuration are single runs of it; a time that is infinite or missing says that it
            failed. A column ``failure`` may say why.
        kernel: Name of the kernel.
        device: Name of the device.

    Raises:
        DataError: A column is missing, a configuration is outside the space or ran and breaks its
            constraints, a time is no number or not above 0, or nothing ran.
    """
    if not isinstance(table, pd.DataFrame):
        raise DataError(
            f"the table of {kernel} is a {type(table).__name__}; a pandas DataFrame is wanted, "
            "such as of pandas.read_csv"
        )
    absent = [name for name in (*space.names, "time") if name not in table.columns]
    if absent:
        raise DataError(
            f"the table of {kernel} has no column {absent[0]!r}; it has "
            f"{', '.join(map(str, table.columns))}"
        )
    try:
        times = table["time"].to_numpy(np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise DataError(f"the table of {kernel} has times that are no numbers: {error}") from None
    reasons = table["failure"].fillna("") if "failure" in table.columns else [""] * len(table)
    rows: dict[tuple[object, ...], list[tuple[float, str]]] = {}
    columns = [table[name].tolist() for name in space.names]
    for configuration, time, reason in zip(zip(*columns, strict=True), times, reasons, strict=True):
        rows.setdefault(configuration, []).append((float(time), str(reason)))
    entries = [
        _entry(dict(zip(space.names, configuration, strict=True)), measured)
        for configuration, measured in rows.items()
    ]
    made = from_entries(Path(f"the table of {kernel}"), space, entries, kernel, device)
    ran = made.codes[made.valid]
    outside = ran[~space.is_valid(ran)]
    if len(outside):
        code = int(outside[0])
        raise DataError(
            f"the table of {kernel} has a time of {made.time(code):g} ms for {space.decode(code)}, "
            "which breaks a constraint of the space; correct the constraint, or leave the row out"
        )
    return made


def _entry(configuration: dict[str, object], measured: list[tuple[float, str]]) -> Entry:
    """One configuration; it failed if one of its runs did."""
    samples = [time for time, _ in measured]
    if not np.isfinite(samples).all():
        reasons = [reason for _, reason in measured if reason]
        return Entry(configuration, None, failure=reasons[0] if reasons else "")
    # one time a configuration is a mean of an unknown number, of which none can be drawn
    drawn = samples if len(samples) > 1 else ()
    return Entry(configuration, float(np.mean(samples)), drawn)
