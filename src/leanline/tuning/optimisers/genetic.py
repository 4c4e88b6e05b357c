"""Genetic algorithms, with and without climbs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from leanline.tuning.compiled.genetic import CROSSOVERS, genetic, genetic_local_search
from leanline.tuning.optimisers.base import CompiledOptimiser, CompiledSearch
from leanline.tuning.optimisers.checks import above_zero, at_least, changes_of, choose
from leanline.tuning.space import SearchSpace

Crossover = Literal["one-point", "two-point", "uniform"]
"""How two parents share out their values to two children: the parameters from a random one on, the
first excepted; those from a random one up to but without a later one, the first and the last
excepted (it may be the same: then the children are copies); or each by the toss of a coin."""


@dataclass(frozen=True)
class GeneticAlgorithm(CompiledOptimiser):
    """Random pairs get two children each; tournaments among parents and children choose.

    A run ends when the population has converged: when all members are equally fast.

    Attributes:
        population: Number of members.
        mutation: Changes of a child, as a share of `SearchSpace.bits`; at least one is made.
        crossover: How children come from parents.
        tournament: Random challengers of a random member; the fastest of them all stays.
    """

    population: int = 40
    mutation: float = 0.05
    crossover: Crossover = "one-point"
    tournament: int = 8

    def __post_init__(self) -> None:
        """Check the settings; raises ConfigError."""
        at_least(self, 2, population=self.population, tournament=self.tournament)
        above_zero(self, mutation=self.mutation)

    def compiled(self, space: SearchSpace) -> tuple[CompiledSearch, list[float]]:
        """Return the search and its settings."""
        crossover = choose(self, "crossover", self.crossover, CROSSOVERS)
        mutations = changes_of(self.mutation, space.bits)
        return genetic, [self.population, crossover, mutations, self.tournament]


@dataclass(frozen=True)
class GeneticLocalSearch(CompiledOptimiser):
    """A genetic algorithm without mutation whose children climb (the paper's GLS).

    A child that is slower than the parent most like it is given up (restricted tournament, Harik
    1995); of the parents and the other children the fastest stay. A run ends when the population
    has converged: when all members are equally fast.

    Attributes:
        population: Number of members.
        crossover: How children come from parents.
        window: How many parents, drawn with replacement, a child is compared with.
    """

    population: int = 16
    crossover: Crossover = "two-point"
    window: int = 150

    def __post_init__(self) -> None:
        """Check the settings; raises ConfigError."""
        at_least(self, 2, population=self.population)
        at_least(self, 1, window=self.window)

    def compiled(self, space: SearchSpace) -> tuple[CompiledSearch, list[float]]:
        """Return the search and its settings."""
        crossover = choose(self, "crossover", self.crossover, CROSSOVERS)
        return genetic_local_search, [self.population, crossover, self.window]
