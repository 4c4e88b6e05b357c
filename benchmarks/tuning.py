"""Unique evaluations a second of the tuning optimisers in a replay, on one thread.

Seconds are those of the processor, so that what else runs counts less. Budget 1600, the paper's
settings and protocol, on the measured space that LEANLINE_TUNING_SPACE names, or else on a made-up
kernel of 18,432 configurations that all run. Where LEANLINE_BLOOPY or, for the made-up kernel,
LEANLINE_KERNEL_TUNER names a Python interpreter whose environment has BlooPy or
Kernel Tuner, theirs are measured in the same run, in turn with ours.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from leanline import tuning
from leanline.tuning.compiled.gate import PENALTY
from leanline.tuning.optimisers.paper_settings import SETTINGS, paper_settings
from leanline.tuning.problem import Problem, seeds_of

BUDGET = 1600
ROUNDS = 3
BATCH = 0.3  # seconds of ours between two runs of theirs
HERE = Path(__file__).resolve().parent / "tuners"
OTHERS = {"LEANLINE_BLOOPY": "bloopy", "LEANLINE_KERNEL_TUNER": "kernel_tuner"}
FIRST_ILS_AT_LEAST = 5e6
BLOOPY_TIMES = 100


def run(seconds: float) -> Iterator[dict[str, object]]:
    """An optimiser a result; `seconds` are shared out among them."""
    measurements = made_up()
    named = {short: os.environ[name] for name, short in OTHERS.items() if os.environ.get(name, "")}
    chosen = [each for each in SETTINGS if each is not tuning.SMAC]
    with tempfile.TemporaryDirectory() as folder:
        files = _written(measurements, Path(folder))
        for optimiser in chosen:
            yield _measure(optimiser, measurements, named, files, seconds / len(chosen))


def made_up() -> tuning.Measurements:
    """Every configuration of the convolution's lists, with times that climbs can go down on."""
    lists = tuning.paper_space("convolution")
    space = tuning.SearchSpace(dict(zip(lists.names, lists.values, strict=True)))
    rng = np.random.default_rng(0)
    codes = np.arange(space.cartesian_size)
    digits = space.digits(codes)
    effects = sum(
        rng.normal(0, 0.3, size)[digits[:, at]] for at, size in enumerate(space.sizes.tolist())
    )
    times = np.exp(effects + rng.normal(0, 0.3, len(codes)))
    empty = np.empty((len(codes), 0), dtype=np.float32)
    return tuning.Measurements(space, codes, times, empty, {}, "made_up", "none")


def _written(measurements: tuning.Measurements, folder: Path) -> dict[str, Path]:
    space = measurements.space
    plain, cache = folder / "times.json", folder / "cache.json"
    keep = space.sizes > 1  # BlooPy takes no parameter without a choice
    times = np.full(space.cartesian_size, PENALTY)
    times[measurements.codes] = np.minimum(measurements.times, PENALTY)
    given = {"sizes": space.sizes[keep].tolist(), "times": times.tolist()}
    plain.write_text(json.dumps(given))
    tuning.write_measurements(measurements, cache, "kernel-tuner")
    return {"bloopy": plain, "kernel_tuner": cache}


def _measure(
    optimiser: type[tuning.Optimiser],
    measurements: tuning.Measurements,
    named: dict[str, str],
    files: dict[str, Path],
    seconds: float,
) -> dict[str, object]:
    ours = paper_settings(optimiser, BUDGET)
    replay = tuning.Replay(measurements)
    _rate(ours, replay, 2, 0)  # compiles
    runs = max(2, round(BATCH * _rate(ours, replay, 2, 1) / BUDGET))
    rates: dict[str, list[float]] = {"leanline": []}
    begin = time.perf_counter()
    while len(rates["leanline"]) < ROUNDS or time.perf_counter() - begin < seconds:
        rates["leanline"].append(_rate(ours, replay, runs, len(rates["leanline"])))
        for short, interpreter in named.items():
            found = _theirs(interpreter, short, files[short], optimiser.__name__)
            if found is not None:
                rates.setdefault(short, []).append(found)
    quartiles = {name: _quartiles(values) for name, values in rates.items()}
    median = quartiles["leanline"][1]
    targets: list[dict[str, Any]] = []
    if optimiser is tuning.FirstILS:
        targets.append(_target("evaluations a second", "one", median, FIRST_ILS_AT_LEAST))
        if "bloopy" in rates:
            ratio = median / quartiles["bloopy"][1]
            targets.append(_target("evaluations a second", "BlooPy", ratio, BLOOPY_TIMES))
    lines = [
        f"{name:>12}: {middle:12,.0f} a second ({low:,.0f} to {high:,.0f}), "
        f"{median / middle:,.0f} times as many here"
        for name, (low, middle, high) in quartiles.items()
    ]
    return {
        "case": optimiser.__name__,
        "what": f"unique evaluations a second in a replay, budget {BUDGET}",
        "evaluations_per_second": quartiles,
        "targets": targets,
        "text": "\n".join(lines),
    }


def _target(variant: str, against: str, found: float, at_least: float) -> dict[str, Any]:
    return {
        "variant": variant,
        "against": against,
        "at_least": at_least,
        "found": found,
        "met": found >= at_least,
    }


def _rate(optimiser: tuning.Optimiser, replay: tuning.Replay, runs: int, seed: int) -> float:
    problem = Problem(replay, BUDGET, protocol="paper", runs=runs)
    seeds = seeds_of(seed, runs)
    begin = time.process_time()
    optimiser.run(problem, seeds)
    return float(problem.gate.spent.sum()) / (time.process_time() - begin)


def _theirs(interpreter: str, short: str, file: Path, name: str) -> float | None:
    """Evaluations a second; None where it has no such optimiser."""
    script = str(HERE / f"{short}_runs.py")
    asked = [interpreter, script, str(file), name, str(BUDGET), "1"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode:
        if "has no" in done.stderr:
            return None
        raise RuntimeError(f"{' '.join(asked)}:\n{done.stderr}")
    found = json.loads(done.stdout)
    return float(found["evaluations"] / found["seconds"])


def _quartiles(values: list[float]) -> tuple[float, float, float]:
    if len(values) < 2:
        return (values[0],) * 3
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high
