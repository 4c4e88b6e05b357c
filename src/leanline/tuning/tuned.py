"""Tune a kernel into a folder, from which the same call goes on after a kill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from leanline.errors import RunError
from leanline.records.progress import bar
from leanline.tuning.files.read import Format, write_measurements
from leanline.tuning.measurements import Measurements
from leanline.tuning.measuring.journal import Journal, describe_space
from leanline.tuning.measuring.recorded import Recorded
from leanline.tuning.measuring.sampled import Sampled, as_measurements
from leanline.tuning.minimize import minimize
from leanline.tuning.objectives import Objective
from leanline.tuning.optimisers.base import Optimiser
from leanline.tuning.problem import Protocol
from leanline.tuning.trace import Trace
from leanline.types import PathLike
from leanline.version import __version__

FILES: dict[str, Format] = {
    "space.parquet": "parquet",
    "kernel-tuner.json": "kernel-tuner",
    "t4.json": "t4",
}
"""What is written beside the journal, once something ran: name to format."""


@dataclass(frozen=True)
class Tuned:
    """What came of tuning.

    Attributes:
        trace: The search.
        folder: Where the measurements are.
        measurements: All that the folder holds, of this search and of others.
        about: The device and the versions of what drives it.
        failures: How many configurations of this search failed, by reason.
        details: For each reason, what was said of one of them.
    """

    trace: Trace
    folder: Path
    measurements: Measurements
    about: Mapping[str, Any]
    failures: Mapping[str, int] = field(default_factory=dict)
    details: Mapping[str, str] = field(default_factory=dict)


def tune(
    objective: Objective,
    optimiser: Optimiser,
    folder: PathLike,
    *,
    budget: int = 200,
    seed: int = 0,
    protocol: Protocol = "valid",
    settings: Mapping[str, Any] | None = None,
) -> Tuned:
    """Look for the fastest configuration, and keep what is measured.

    Each measured configuration is on the disk before the next one begins. A call on a folder that
    has measurements of the same kernel, device and versions looks them up: after a kill, the same
    call goes on from there; another optimiser begins with what others have measured. Several
    processes may tune into one folder.

    Beside the record, the folder gets all that it holds as a space for `Replay`: ``space.parquet``,
    ``kernel-tuner.json`` and ``t4.json``.

    Args:
        objective: What is measured.
        optimiser: How to search.
        folder: Where to keep it; made if missing.
        budget: The number of unique evaluations, those that are looked up counted in.
        seed: Of the search.
        protocol: See `minimize`.
        settings: What else the measurements depend on, such as sizes, for the record.

    Raises:
        ConfigError: A setting is wrong, or nothing meets the constraints.
        RunError: The device cannot be opened, no configuration ran (the message says why), or the
            folder cannot be used: it has measurements of something else, or cannot be written.
    """
    driven = dict(objective.about) if isinstance(objective, Sampled) else {}
    identity = {
        "kernel": objective.name,
        "settings": dict(settings or {}),
        "about": driven,
        "space": describe_space(objective.space),
    }
    journal = Journal(folder, identity, objective.space)
    total = min(budget, len(objective.space.valid_codes())) if protocol == "valid" else budget
    with bar(f"tune {objective.name}", total=total) as report:
        recorded = Recorded(objective, journal, report)
        trace = minimize(recorded, optimiser, budget=budget, seed=seed, protocol=protocol)
    journal.refresh()
    failed = [journal.outcomes[int(code)] for code in trace.codes if int(code) in journal.outcomes]
    failed = [each for each in failed if each.failure]
    details = {each.failure: each.detail for each in reversed(failed)}
    if all(each.failure for each in journal.outcomes.values()):
        reasons = "; ".join(f"{reason}: {said}" for reason, said in details.items())
        raise RunError(
            f"no configuration of {objective.name} ran. {reasons}. These failures are kept in "
            f"{journal.path} and not tried again: choose another folder after a correction"
        )
    about = {
        **driven,
        "leanline": __version__,
        "settings": dict(settings or {}),
        "statistic": "median of repeated runs",
        "timed_again_in_turn": [
            {"configuration": objective.space.decode(code), "median": each.median}
            for code, each in trace.spreads.items()
        ],
        "date": f"{datetime.now(timezone.utc):%Y-%m-%d}",
    }
    measurements = as_measurements(objective, journal.outcomes, about)
    has_functions = not all(isinstance(each, str) for each in objective.space.constraints)
    with journal.locked():
        for name, kind in FILES.items():
            if kind != "parquet" or not has_functions:  # which Parquet cannot hold
                write_measurements(measurements, journal.path / name, kind)
    return Tuned(
        trace=trace,
        folder=journal.path,
        measurements=measurements,
        about=about,
        failures=Counter(each.failure for each in failed),
        details=details,
    )
