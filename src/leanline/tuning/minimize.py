"""Run an optimiser once."""

from __future__ import annotations

from typing import Any

from leanline.errors import ConfigError
from leanline.tuning.measuring.sampled import Sampled
from leanline.tuning.measuring.settle import settle
from leanline.tuning.objectives import Objective
from leanline.tuning.optimisers.base import Optimiser
from leanline.tuning.problem import ENDINGS, Problem, Protocol, seeds_of
from leanline.tuning.trace import Trace


def minimize(
    objective: Objective,
    optimiser: Optimiser,
    *,
    budget: int = 200,
    seed: int = 0,
    protocol: Protocol = "valid",
) -> Trace:
    """Look for the fastest configuration.

    ```python
    trace = minimize(Replay("convolution_A100.parquet"), FirstILS(), budget=200, seed=0)
    trace.best_config, trace.best_time
    ```

    Args:
        objective: What is minimised.
        optimiser: How.
        budget: The number of unique evaluations, which is never exceeded. The fastest ones of a
            kernel that is measured for real are then measured again, in turn, and the fastest of
            that is named.
        seed: Equal seeds, equal runs, if the objective gives equal times.
        protocol: ``valid``: what breaks a constraint is known beforehand and costs nothing;
            ``paper``: it costs an evaluation (A.2).

    Returns:
        What was evaluated. A run ends before its budget when it meets the known optimum, when all
        configurations were evaluated, or when an optimiser finds nothing new to evaluate.

    Raises:
        ConfigError: A setting is wrong, or nothing meets the constraints.
    """
    given: Any = optimiser
    if isinstance(given, type):
        raise ConfigError(
            f"the optimiser {given.__name__} was given as a class; {given.__name__}() is wanted"
        )
    if not isinstance(objective, Objective):
        raise ConfigError(
            f"{objective!r} was given to be minimised; a kernel, Replay, or Callable(function, "
            "space) of leanline.tuning is wanted"
        )
    problem = Problem(objective, budget, protocol=protocol)
    optimiser.run(problem, seeds_of(seed, 1))
    gate = problem.gate
    used, found = int(gate.spent[0]), int(gate.found[0])
    codes, times = gate.codes[:used].copy(), gate.times[:used].copy()
    best_time = float("inf")
    if found >= 0:
        # a function is not called again for what it was asked already
        replayed = objective.known() is not None
        best_time = objective.measure(found) if replayed else float(times[codes == found][0])
    spreads = settle(objective, codes, times) if isinstance(objective, Sampled) else {}
    if spreads:
        found = next(iter(spreads))
        best_time = spreads[found].median
    return Trace(
        space=objective.space,
        codes=codes,
        times=times,
        best_code=found if found >= 0 else None,
        best_time=best_time,
        optimum=objective.optimum,
        ended=ENDINGS[int(gate.ended[0])],
        spreads=spreads,
    )
