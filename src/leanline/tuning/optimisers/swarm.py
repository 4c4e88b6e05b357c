"""Particle swarm optimisation."""

from __future__ import annotations

from dataclasses import dataclass

from leanline.tuning.compiled.swarm import particle_swarm
from leanline.tuning.optimisers.base import CompiledOptimiser, CompiledSearch
from leanline.tuning.optimisers.checks import above_zero, at_least
from leanline.tuning.space import SearchSpace


@dataclass(frozen=True)
class ParticleSwarm(CompiledOptimiser):
    """Particles that fly through the box of positions, drawn to good places.

    The neighbours of a particle are those nearest to it, by the sum of the differences of their
    coordinates (Kennedy and Eberhart 1995; the local best of Eberhart and Kennedy 1995).

    Attributes:
        particles: Number of particles.
        neighbours: How many particles, itself included, share their best place.
        scale: Width of the box along the parameter with most values; velocities start below 1.
        inertia: Share of the velocity that stays.
        own_pull: Pull of the particle's own best place.
        other_pull: Pull of the neighbours' best place.
        iterations: Moves after which the search ends.
    """

    particles: int = 20
    neighbours: int = 10
    scale: float = 10.0
    inertia: float = 0.5
    own_pull: float = 2.0
    other_pull: float = 1.0
    iterations: int = 100

    def __post_init__(self) -> None:
        """Check the settings; raises ConfigError."""
        at_least(
            self,
            1,
            particles=self.particles,
            neighbours=self.neighbours,
            iterations=self.iterations,
        )
        at_least(self, 0, inertia=self.inertia, own_pull=self.own_pull, other_pull=self.other_pull)
        above_zero(self, scale=self.scale)

    def compiled(self, space: SearchSpace) -> tuple[CompiledSearch, list[float]]:
        """Return the search and its settings."""
        return particle_swarm, [
            self.particles,
            self.neighbours,
            self.scale,
            self.inertia,
            self.own_pull,
            self.other_pull,
            self.iterations,
        ]
