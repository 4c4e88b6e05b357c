"""What is known of a measured space before anything is searched."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from leanline.tuning.objectives import Replay

NEAR = (0.9, 0.99)
"""Fractions of the optimum at which good configurations are counted."""


@dataclass(frozen=True)
class SpaceFacts:
    """A measured space in numbers.

    Attributes:
        name: What tables call it.
        kernel: Name of the kernel.
        device: Name of the device.
        file: Name of its file.
        sha256: Checksum of the file.
        parameters: Number of values by parameter.
        constraints: How many it has.
        cartesian: Configurations of the Cartesian product.
        allowed: Those that meet the constraints.
        ran: Those that were measured and ran.
        failed: Those that were measured and failed, by reason.
        unmeasured: Those that meet the constraints and were not measured; they count as failed.
        single_times: Times of single runs of each configuration.
        best_time: Of all configurations, ms.
        best: The configuration.
        median_time: Of those that ran, ms.
        near: Number of configurations of at least 90 % and 99 % of the optimum.
    """

    name: str
    kernel: str
    device: str
    file: str
    sha256: str
    parameters: dict[str, int]
    constraints: int
    cartesian: int
    allowed: int
    ran: int
    failed: dict[str, int]
    unmeasured: int
    single_times: int
    best_time: float
    best: dict[str, Any]
    median_time: float
    near: dict[str, int]


def space_facts(file: Path, replay: Replay) -> dict[str, Any]:
    """The numbers of a space as plain values, see `SpaceFacts`."""
    measured, space = replay.measurements, replay.space
    allowed, times = space.valid_codes(), measured.times
    failed = measured.codes[~measured.valid]
    reasons = Counter(measured.failures.get(int(code), "not said") for code in failed)
    ran = times[measured.valid]
    facts = SpaceFacts(
        name=replay.name,
        kernel=measured.kernel,
        device=measured.device,
        file=file.name,
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        parameters=dict(zip(space.names, map(int, space.sizes), strict=True)),
        constraints=len(space.constraints),
        cartesian=space.cartesian_size,
        allowed=len(allowed),
        ran=len(ran),
        failed=dict(reasons),
        unmeasured=len(np.setdiff1d(allowed, measured.codes, assume_unique=True)),
        single_times=measured.samples.shape[1],
        best_time=measured.best_time,
        best=space.decode(int(measured.codes[int(np.argmin(times))])),
        median_time=float(np.median(ran)),
        near={f"{part:g}": int((measured.best_time / ran >= part).sum()) for part in NEAR},
    )
    return asdict(facts)
