"""What an optimiser is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float64, UInt64

from leanline.tuning.compiled import gate as compiled
from leanline.tuning.problem import Problem, SearchEnded
from leanline.tuning.space import SearchSpace

CompiledSearch: TypeAlias = Callable[[compiled.Gate, np.ndarray, np.ndarray], None]
"""A Numba function of the gate, the seeds of the runs, and the settings."""


class Optimiser(ABC):
    """A configured search; a frozen dataclass whose fields are its settings."""

    @property
    def name(self) -> str:
        """What tables call it."""
        return type(self).__name__

    @abstractmethod
    def run(self, problem: Problem, seeds: UInt64[np.ndarray, "runs"]) -> None:
        """Make one run a seed; the problem's gate keeps the results."""


class CompiledOptimiser(Optimiser):
    """An optimiser whose search is compiled; see `leanline.tuning.compiled`."""

    @abstractmethod
    def compiled(self, space: SearchSpace) -> tuple[CompiledSearch, list[float]]:
        """Return the search and its settings for a space."""

    def run(self, problem: Problem, seeds: UInt64[np.ndarray, "runs"]) -> None:
        """Make one run a seed.

        Where times are not known, the search stops at the first of them, and is run again from its
        start once it is measured: it comes to the same point, as it depends on its seed and on
        times only.
        """
        search, listed = self.compiled(problem.space)
        settings: Float64[np.ndarray, "settings"] = np.array([*listed, 0.0])
        gate = problem.gate
        search(gate, seeds, settings)
        while compiled.ASKING in gate.ended:
            problem.answer()
            search(gate, seeds, settings)


class SteppingOptimiser(Optimiser):
    """An optimiser in Python: the one method `search` is all that a new one needs."""

    @abstractmethod
    def search(self, problem: Problem, rng: np.random.Generator) -> Any:
        """Search: call ``problem.evaluate(code)`` until it raises, or return earlier.

        Args:
            problem: The objective and the budget.
            rng: Where all random numbers come from.
        """

    def run(self, problem: Problem, seeds: UInt64[np.ndarray, "runs"]) -> None:
        """Make one run a seed."""
        for run, seed in enumerate(seeds):
            problem.begin(seed)
            try:
                if not problem.ended:
                    self.search(problem, np.random.default_rng(int(seed)))
            except SearchEnded:
                pass
            problem.end(run)
