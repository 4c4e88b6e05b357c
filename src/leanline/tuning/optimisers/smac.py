"""SMAC, by SMAC3."""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from leanline.errors import RunError
from leanline.tuning.optimisers.base import SteppingOptimiser
from leanline.tuning.optimisers.checks import one_of
from leanline.tuning.problem import Problem

ASKED = 10
"""Suggestions for each evaluation of the budget, after which a run ends."""


@dataclass(frozen=True)
class SMAC(SteppingOptimiser):
    """SMAC3 on the positions of the values (Lindauer et al. 2022); needs the extra ``tune``.

    A failure, and what is ruled out beforehand, counts as the slowest time seen. A run also ends
    when SMAC3 has nothing new to suggest, or after ten suggestions for each evaluation of the
    budget. It takes seconds to minutes.

    Attributes:
        model: ``gaussian-process``, with a lower confidence bound, as in the paper;
            ``random-forest``, with expected improvement on log times.
    """

    model: Literal["gaussian-process", "random-forest"] = "gaussian-process"

    def __post_init__(self) -> None:
        """Check the settings; raises ConfigError."""
        one_of(self, "model", self.model, ("gaussian-process", "random-forest"))

    def search(self, problem: Problem, rng: np.random.Generator) -> None:
        """Search until the problem ends it.

        Raises:
            RunError: SMAC3 is not installed.
        """
        try:
            from smac.runhistory.dataclasses import TrialValue
        except ImportError as error:
            raise RunError("SMAC3 is not installed; pip install leanline[tune]") from error
        strides = problem.space.strides
        slowest = 0.0
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its numbers of samples, its fits that do not converge
            smac = self._facade(problem, int(rng.integers(2**31)), Path(folder))
            for _ in range(ASKED * problem.budget):
                try:
                    trial = smac.ask()
                except StopIteration:
                    return
                digits = [trial.config[f"p{at}"] for at in range(len(strides))]
                time = problem.evaluate(int(np.array(digits, dtype=np.int64) @ strides))
                if np.isfinite(time):
                    slowest = max(slowest, time)
                cost = time if np.isfinite(time) else slowest or 1.0
                smac.tell(trial, TrialValue(cost=cost), save=False)

    def _facade(self, problem: Problem, seed: int, folder: Path) -> Any:
        """SMAC3, set up; it writes below the folder only."""
        from ConfigSpace import ConfigurationSpace, Constant, Integer
        from smac import BlackBoxFacade, HyperparameterOptimizationFacade, Scenario
        from smac.acquisition.function import LCB

        space = ConfigurationSpace(seed=seed)
        for at, size in enumerate(problem.space.sizes.tolist()):
            name = f"p{at}"
            space.add(Integer(name, (0, size - 1)) if size > 1 else Constant(name, 0))
        scenario = Scenario(
            space,
            output_directory=folder,
            deterministic=True,
            n_trials=problem.budget,
            seed=seed,
        )
        shared: dict[str, Any] = {"overwrite": True, "logging_level": False}
        if self.model == "gaussian-process":
            return BlackBoxFacade(scenario, _not_called, acquisition_function=LCB(), **shared)
        return HyperparameterOptimizationFacade(scenario, _not_called, **shared)


def _not_called(config: Any, seed: int = 0) -> float:
    """What SMAC3 would call if it were not asked and told."""
    raise NotImplementedError
