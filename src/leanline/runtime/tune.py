"""Tuning a network's plan: configurations are searched, each timed against the untuned plan."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from torch import nn

from leanline.errors import ModelError
from leanline.runtime.benchmark import interleaved
from leanline.runtime.trials import Trial, Trials
from leanline.runtime.tunables import Tunable
from leanline.runtime.tuned import Tuned
from leanline.tuning import Callable as Measure
from leanline.tuning import Problem, SteppingOptimiser, minimize

log = logging.getLogger(__name__)

SECONDS = 0.4
"""Time of one measurement, after two rounds that tell whether it is worth it."""
FAR = 1.3
"""What took longer than this times the untuned plan in both of these is not timed further."""
LEADERS = 3
"""Configurations that are measured once more, in one run, before one is named."""
LAST_SECONDS, LAST_ROUNDS = 3.0, 21
"""For that run: how long it takes at least, and how many rounds."""
SIGMAS = 2.5
"""How sure the gain has to be: standard errors of the median's rank."""


def tune_plan(
    tunable: Tunable,
    untuned: nn.Module,
    threshold: float,
    budget: int,
    agree: Callable[[nn.Module], None],
    folder: Path | None = None,
) -> tuple[nn.Module, Tuned]:
    """Look for a configuration that is faster than the untuned plan.

    The search is an iterated local search that begins at the untuned plan, since that is good
    already. Each configuration is timed in turn with the untuned plan, so that slow moments of the
    machine cancel; the fastest ones are timed again at the end, all in one run, and the best
    replaces the untuned plan only if it is faster by more than that run's noise.

    Args:
        tunable: the network.
        untuned: the plan that has to be beaten.
        threshold: that of the untuned plan, where the search begins.
        budget: configurations that are looked at.
        agree: raises ModelError where a network computes something else than it should.
        folder: for what was measured; by default in the user's folder for caches.

    Returns:
        The network to run, `untuned` itself or a faster one, and what was found.
    """
    start, space, inputs = time.perf_counter(), tunable.space, tunable.inputs
    if space.cartesian_size == 1:
        return untuned, Tuned(None, 1.0, 1.0, 1, 0, 0, time.perf_counter() - start)
    # times are relative to the untuned plan, which may be another one the next time
    trials = Trials(f"{tunable.key} {threshold} {untuned}", folder)
    fresh = 0

    def measure(configuration: dict[str, Any]) -> float:
        nonlocal fresh
        code = space.encode(configuration)
        trial = trials.get(code)
        if trial is None:
            fresh += 1
            trial = _try(lambda: tunable.make(configuration), untuned, agree, inputs)
            said = trial.failed or f"{trial.relative:.3f} of the untuned time"
            log.info("%s: %s", configuration, said)
            trials.put(code, trial)
        return trial.relative

    begin = space.encode(tunable.untuned(threshold))
    trace = minimize(Measure(measure, space, "plan"), _ClimbFrom(begin), budget=budget)
    leaders = [code for code in trials.fastest(LEADERS) if code != begin]
    best: nn.Module = untuned
    configuration, speedup, low = None, 1.0, 1.0
    networks = []
    for code in leaders:
        network = tunable.make(space.decode(code))
        try:
            agree(network)
        except ModelError as problem:  # it was measured with other weights
            log.warning("not used: %s", problem)
            continue
        networks.append((code, network))
    if networks:
        models = [untuned, *(network for _, network in networks)]
        table = interleaved(models, inputs, LAST_SECONDS, 1000, LAST_ROUNDS)
        ratios = table[:, :1] / table[:, 1:]
        place = int(np.argmax(np.median(ratios, axis=0)))
        speedup, low = float(np.median(ratios[:, place])), _sure(ratios[:, place])
        if low > 1.0:
            code, best = networks[place]
            configuration = space.decode(code)
    tuned = Tuned(
        configuration,
        speedup,
        low,
        space.cartesian_size,
        trace.evaluations,
        fresh,
        time.perf_counter() - start,
    )
    log.info("tuned: %s", tuned)
    return best, tuned


def _try(
    make: Callable[[], nn.Module],
    untuned: nn.Module,
    agree: Callable[[nn.Module], None],
    inputs: tuple[Any, ...],
) -> Trial:
    """Time a network against the untuned plan; what computes something else has failed."""
    try:
        network = make()
        agree(network)
    except ModelError as problem:
        return Trial(math.inf, str(problem))
    table = interleaved([untuned, network], inputs, 0.0, 2)
    if (table[:, 1] < FAR * table[:, 0]).any():
        more = interleaved([untuned, network], inputs, SECONDS, 1000, 3)
        table = np.concatenate([table, more])
    return Trial(float(np.median(table[:, 1] / table[:, 0])))


def _sure(ratios: Float64[np.ndarray, " rounds"]) -> float:
    """A bound below the median, from the ranks of the rounds: no law of the noise is assumed."""
    rank = math.floor((len(ratios) - SIGMAS * math.sqrt(len(ratios))) / 2)
    return float(np.sort(ratios)[max(rank, 0)])


@dataclass(frozen=True)
class _ClimbFrom(SteppingOptimiser):
    """First-improvement iterated local search that begins at a known configuration.

    Attributes:
        start: its code.
        jump: parameters that a jump changes.
    """

    start: int
    jump: int = 2

    def search(self, problem: Problem, rng: np.random.Generator) -> None:
        """Climb from the start, then from near the best, until the search ends."""
        space = problem.space
        best, fastest = self._climb(problem, rng, self.start)
        while True:
            there = best
            for _ in range(self.jump):
                there = int(rng.choice(space.neighbours(there)))
            found, taken = self._climb(problem, rng, there)
            if taken < fastest:
                best, fastest = found, taken

    def _climb(self, problem: Problem, rng: np.random.Generator, start: int) -> tuple[int, float]:
        here, taken = start, problem.evaluate(start)
        while True:
            for code in rng.permutation(problem.space.neighbours(here)).tolist():
                other = problem.evaluate(code)
                if other < taken:
                    here, taken = code, other
                    break
            else:
                return here, taken
