"""The settings of the paper's optimisers, a set a budget, the same for all kernels (A.2).

They were tuned on three graphics cards whose results are not among the published ones. A budget in
between takes the settings of the next larger one; beyond 1600, those of 1600. The paper ran SMAC up
to 400 only.
"""

from __future__ import annotations

from typing import Any

from leanline.errors import ConfigError
from leanline.tuning.optimisers.annealing import SimulatedAnnealing
from leanline.tuning.optimisers.base import Optimiser
from leanline.tuning.optimisers.basin_hopping import BasinHopping
from leanline.tuning.optimisers.differential_evolution import DifferentialEvolution
from leanline.tuning.optimisers.dual_annealing import DualAnnealing
from leanline.tuning.optimisers.genetic import GeneticAlgorithm, GeneticLocalSearch
from leanline.tuning.optimisers.iterated import BestILS, FirstILS
from leanline.tuning.optimisers.multi_start import BestMLS, FirstMLS
from leanline.tuning.optimisers.random_sampling import RandomSampling
from leanline.tuning.optimisers.smac import SMAC
from leanline.tuning.optimisers.swarm import ParticleSwarm
from leanline.tuning.optimisers.tabu import BestTabu, FirstTabu

BUDGETS = (25, 50, 100, 200, 400, 800, 1600)
"""The budgets of the paper."""

Settings = dict[str, Any]


def _each(**settings: Any) -> dict[int, Settings]:
    """The same for every budget."""
    return {budget: settings for budget in BUDGETS}


def _listed(**columns: list[Any]) -> dict[int, Settings]:
    """A value a budget for every setting."""
    return {
        budget: {name: values[at] for name, values in columns.items()}
        for at, budget in enumerate(BUDGETS)
    }


_HAMMING: list[Any] = ["hamming"]
_ADJACENT: list[Any] = ["adjacent"]

SETTINGS: dict[type[Optimiser], dict[int, Settings]] = {
    RandomSampling: _each(),
    FirstMLS: _each(neighbourhood="hamming", after_move="restart"),
    BestMLS: _each(neighbourhood="hamming"),
    FirstILS: _listed(
        walk=[1.0] * 5 + [0.05] * 2,
        no_improve=[25] * 5 + [10] * 2,
        neighbourhood=_HAMMING * 5 + _ADJACENT * 2,
        after_move=["continue"] * 4 + ["restart"] * 3,
    ),
    BestILS: _listed(
        walk=[1.0] * 5 + [0.05] * 2,
        no_improve=[25] * 7,
        neighbourhood=_ADJACENT * 2 + _HAMMING * 3 + _ADJACENT * 2,
    ),
    FirstTabu: _listed(tabu_size=[4] * 2 + [2000] * 5, neighbourhood=_HAMMING * 7),
    BestTabu: _each(tabu_size=2000, neighbourhood="hamming"),
    SimulatedAnnealing: _listed(
        explore=[1.0] * 4 + [0.7] + [0.1] * 2, climb=["none"] + ["first"] * 6
    ),
    GeneticAlgorithm: _listed(
        population=[8, 10, 20, 40, 80, 128, 320],
        mutation=[0.02] * 3 + [0.05] * 2 + [0.02] * 2,
        crossover=["one-point"] * 5 + ["two-point"] * 2,
        tournament=[8] * 5 + [4] * 2,
    ),
    GeneticLocalSearch: _listed(
        population=[2, 2, 4, 16, 20, 40, 80],
        crossover=["uniform"] * 2 + ["two-point"] * 2 + ["uniform"] * 3,
        window=[150] * 7,
    ),
    ParticleSwarm: _listed(
        particles=[25, 25, 10, 20, 40, 80, 160],
        neighbours=[5, 5, 5, 10, 20, 26, 32],
        scale=[10.0, 10.0, 10.0, 1000.0, 100.0, 1000.0, 10.0],
    ),
    DifferentialEvolution: _listed(
        population=[1, 2, 2, 4, 8, 16, 32],
        strategy=["best1bin"] * 4 + ["best2bin"] + ["best1exp"] * 2,
        recombination=[0.5] + [0.7] * 6,
    ),
    DualAnnealing: _listed(method=["COBYLA"] + ["Powell"] * 6),
    BasinHopping: _listed(
        method=["Powell"] + ["COBYLA"] * 4 + ["SLSQP"] * 2, temperature=[0.1] * 5 + [1.0] * 2
    ),
    SMAC: _each(model="gaussian-process"),
}
"""Settings by optimiser and budget."""


def paper_settings(optimiser: type[Optimiser], budget: int) -> Optimiser:
    """Return an optimiser with the paper's settings for a budget.

    Args:
        optimiser: Its class.
        budget: Number of unique evaluations.

    Raises:
        ConfigError: The paper has no such optimiser, or the budget is below 1.
    """
    if optimiser not in SETTINGS:
        names = ", ".join(each.__name__ for each in SETTINGS)
        raise ConfigError(f"the paper has no settings for {optimiser.__name__}; it has for {names}")
    if budget < 1:
        raise ConfigError(f"a budget of {budget} evaluations was given; at least 1 is wanted")
    listed = min((each for each in BUDGETS if each >= budget), default=BUDGETS[-1])
    return optimiser(**SETTINGS[optimiser][listed])
