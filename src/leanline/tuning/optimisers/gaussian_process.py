"""Bayesian optimisation: a Gaussian process, and the configuration with the lowest bound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from jaxtyping import Float64, Int64

from leanline.tuning.optimisers.base import SteppingOptimiser
from leanline.tuning.optimisers.checks import at_least
from leanline.tuning.problem import Problem

Points = Float64[np.ndarray, "_ parameters"]

LENGTHS = (0.15, 0.3, 0.6, 1.2, 2.4)
NOISES = (1e-4, 1e-2, 1e-1)
"""Length scales, in widths of the box, and noise variances; the likeliest are used."""


@dataclass(frozen=True)
class GaussianProcess(SteppingOptimiser):
    """A Gaussian process on log times with a Matérn 5/2 covariance; lower confidence bound.

    Configurations are points of the unit box by the positions of their values. A failure counts as
    the slowest time seen. Length scale and noise are chosen by likelihood when the number of
    evaluations has grown by a quarter.

    Rasmussen and Williams, "Gaussian processes for machine learning" (2006), algorithms 2.1 and
    5.4; the bound: Cox and John (1992).

    Attributes:
        initial: Random configurations at the start.
        kappa: Standard deviations below the mean that the bound is.
        candidates: Random configurations among which the lowest bound is looked for, if there are
            more; the neighbours of the best are always among them.
        memory: Evaluations that the process is fitted to: the fastest half and the latest.
    """

    initial: int = 12
    kappa: float = 2.0
    candidates: int = 4096
    memory: int = 300

    def __post_init__(self) -> None:
        """Check the settings; raises ConfigError."""
        at_least(self, 1, initial=self.initial, candidates=self.candidates)
        at_least(self, 2, memory=self.memory)
        at_least(self, 0, kappa=self.kappa)

    def search(self, problem: Problem, rng: np.random.Generator) -> None:
        """Search until the problem ends it."""
        space, seen = problem.space, dict[int, float]()
        while len(seen) < space.cartesian_size:  # the gate ends the run before
            wanted = np.empty(0, dtype=np.int64)
            if len(seen) >= self.initial and np.isfinite(list(seen.values())).any():
                codes, values = self._remembered(seen)
                wanted = self._candidates(problem, rng, seen, int(codes[np.argmin(values)]))
            if not len(wanted):
                code = _draw(problem, rng, seen)
                seen[code] = problem.evaluate(code)
                continue
            model = _Model.fit(_points(problem, codes), values, _points(problem, wanted))
            for _ in range(max(1, len(codes) // 4)):
                at = model.lowest(self.kappa)
                if at < 0:
                    break
                code = int(wanted[at])
                seen[code] = problem.evaluate(code)
                worst = max(time for time in seen.values() if np.isfinite(time))
                model.add(at, float(np.log(min(seen[code], worst))))

    def _remembered(
        self, seen: dict[int, float]
    ) -> tuple[Int64[np.ndarray, "points"], Float64[np.ndarray, "points"]]:
        codes, times = np.array(list(seen), dtype=np.int64), np.array(list(seen.values()))
        logs = np.log(np.where(np.isfinite(times), times, times[np.isfinite(times)].max()))
        if len(codes) > self.memory:
            half = self.memory // 2
            fastest = np.argsort(times, kind="stable")[:half]
            latest = np.arange(len(codes) - (self.memory - half), len(codes))
            kept = np.union1d(fastest, latest)
            codes, logs = codes[kept], logs[kept]
        return codes, logs

    def _candidates(
        self, problem: Problem, rng: np.random.Generator, seen: dict[int, float], best: int
    ) -> Int64[np.ndarray, "candidates"]:
        allowed = problem.allowed()
        if allowed is None:
            size = problem.space.cartesian_size
            few = size <= self.candidates
            drawn = np.arange(size) if few else rng.integers(0, size, self.candidates)
        else:
            few = len(allowed) <= self.candidates
            drawn = allowed if few else rng.choice(allowed, self.candidates, replace=False)
        near = problem.space.neighbours(best)
        if allowed is not None:
            near = near[np.isin(near, allowed)]
        return np.setdiff1d(np.union1d(drawn, near), np.array(list(seen), dtype=np.int64))


class _Model:
    """The process at the candidates, brought up to date evaluation by evaluation."""

    def __init__(
        self, length: float, noise: float, points: Points, values: np.ndarray, candidates: Points
    ) -> None:
        self._length, self._noise = length, noise
        self._points, self._candidates = points, candidates
        self._mean, self._scale = float(values.mean()), float(values.std()) or 1.0
        lower = _cholesky(points, length, noise)
        centred = (values - self._mean) / self._scale
        cross = _matern(points, candidates, length)
        whitened = scipy.linalg.solve_triangular(lower, cross, lower=True)
        target = scipy.linalg.solve_triangular(lower, centred, lower=True)
        self._lower, self._rows, self._targets = lower, [whitened], [target]
        self.means = whitened.T @ target
        self.variances = np.maximum(1.0 - (whitened**2).sum(axis=0), 1e-12)
        self._open = np.ones(len(candidates), dtype=bool)

    @classmethod
    def fit(cls, points: Points, values: np.ndarray, candidates: Points) -> _Model:
        """The process with the likeliest length and noise."""
        centred = (values - values.mean()) / (float(values.std()) or 1.0)
        best = (np.inf, LENGTHS[0], NOISES[0])
        for length in LENGTHS:
            for noise in NOISES:
                lower = _cholesky(points, length, noise)
                target = scipy.linalg.solve_triangular(lower, centred, lower=True)
                unlikely = 0.5 * float(target @ target) + float(np.log(np.diag(lower)).sum())
                best = min(best, (unlikely, length, noise))
        return cls(best[1], best[2], points, values, candidates)

    def lowest(self, kappa: float) -> int:
        """The candidate with the lowest bound; -1: none is left."""
        if not self._open.any():
            return -1
        bound = self.means - kappa * np.sqrt(self.variances)
        return int(np.argmin(np.where(self._open, bound, np.inf)))

    def add(self, at: int, value: float) -> None:
        """Take in the value at a candidate: a row more of the Cholesky factor."""
        point = self._candidates[at : at + 1]
        before = np.concatenate([row[:, at] for row in self._rows])
        pivot = float(np.sqrt(max(1.0 + self._noise - before @ before, 1e-12)))
        cross = _matern(point, self._candidates, self._length)[0]
        known = np.concatenate(self._targets)
        row = cross - sum(
            before[start : start + len(part)] @ part for start, part in _starts(self._rows)
        )
        row = row / pivot
        target = ((value - self._mean) / self._scale - float(before @ known)) / pivot
        self._rows.append(row[None])
        self._targets.append(np.array([target]))
        self.means = self.means + row * target
        self.variances = np.maximum(self.variances - row**2, 1e-12)
        self._open[at] = False


def _starts(parts: list[np.ndarray]) -> list[tuple[int, np.ndarray]]:
    starts = np.cumsum([0, *(len(part) for part in parts[:-1])])
    return list(zip(starts.tolist(), parts, strict=True))


def _matern(one: Points, two: Points, length: float) -> Float64[np.ndarray, "_ _"]:
    """Matérn covariance, smoothness 5/2, of variance 1."""
    squares = (one**2).sum(1)[:, None] + (two**2).sum(1)[None] - 2.0 * one @ two.T
    scaled = np.sqrt(5.0 * np.maximum(squares, 0.0)) / length
    return np.asarray((1.0 + scaled + scaled**2 / 3.0) * np.exp(-scaled))


def _cholesky(points: Points, length: float, noise: float) -> Float64[np.ndarray, "n n"]:
    covariance = _matern(points, points, length)
    covariance[np.diag_indices_from(covariance)] += noise
    return np.asarray(np.linalg.cholesky(covariance))


def _points(problem: Problem, codes: Int64[np.ndarray, "points"]) -> Points:
    """Configurations in the unit box."""
    space = problem.space
    return np.asarray(space.digits(codes) / np.maximum(space.sizes - 1, 1), dtype=np.float64)


def _draw(problem: Problem, rng: np.random.Generator, seen: dict[int, float]) -> int:
    """A random configuration, if possible one that was not evaluated."""
    allowed = problem.allowed()
    size = problem.space.cartesian_size if allowed is None else len(allowed)
    for _ in range(100):
        at = int(rng.integers(size))
        code = at if allowed is None else int(allowed[at])
        if code not in seen:
            return code
    every = np.arange(size) if allowed is None else allowed
    return int(np.setdiff1d(every, np.array(list(seen), dtype=np.int64))[0])
