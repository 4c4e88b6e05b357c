"""Objectives that are measured for real, and say more than a number."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from leanline.tuning.measurements import Measurements
from leanline.tuning.measuring.isolated import Isolated
from leanline.tuning.measuring.outcome import Outcome
from leanline.tuning.measuring.timing import TimingPolicy
from leanline.tuning.objectives import Objective
from leanline.tuning.space import Configuration, SearchSpace


class Sampled(Objective):
    """An objective whose configurations are measured by repeated runs."""

    @property
    @abstractmethod
    def policy(self) -> TimingPolicy:
        """How often it repeats."""

    @property
    @abstractmethod
    def about(self) -> Mapping[str, str]:
        """The device and the versions of what drives it; may open the device."""

    @abstractmethod
    def sample(self, code: int) -> Outcome:
        """Measure a valid configuration."""

    @abstractmethod
    def in_turn(self, codes: Sequence[int]) -> dict[int, Outcome]:
        """Measure configurations in rounds, one run of each a round.

        A configuration that now fails is in the result with its failure, and the others begin anew.
        """

    @abstractmethod
    def close(self) -> None:
        """Give the device back."""


class MeasuredKernel(Sampled):
    """A kernel that is compiled, checked and timed in a process of its own.

    Wrong outputs, compile errors, launch failures, time-outs and crashes are failures of the
    configuration. The device stays open until `close`, or until the kernel is forgotten.
    """

    def __init__(
        self, isolated: Isolated, policy: TimingPolicy, space: SearchSpace, name: str
    ) -> None:
        """Not for users: see the kernels of the backends."""
        self._isolated, self._policy, self._space, self._name = isolated, policy, space, name

    @abstractmethod
    def order(self, configuration: Configuration) -> Any:
        """What the device is asked to compile for a configuration (with the constants)."""

    @property
    def space(self) -> SearchSpace:
        """The configurations."""
        return self._space

    @property
    def name(self) -> str:
        """What tables call it."""
        return self._name

    @property
    def optimum(self) -> float:
        """Not known: not a number."""
        return math.nan

    @property
    def policy(self) -> TimingPolicy:
        """How often it repeats."""
        return self._policy

    @property
    def about(self) -> Mapping[str, str]:
        """The device and the versions of what drives it.

        Raises:
            RunError: The device cannot be opened.
        """
        return self._isolated.about

    def known(self) -> None:
        """Nothing is known beforehand."""
        return None

    def measure(self, code: int) -> float:
        """The median time of a configuration in ms, infinite where it fails."""
        return self.sample(code).time

    def sample(self, code: int) -> Outcome:
        """Measure a configuration.

        Raises:
            RunError: The process that measures cannot be started.
        """
        return self._ask("measure", code)

    def in_turn(self, codes: Sequence[int]) -> dict[int, Outcome]:
        """Measure configurations in rounds, one run of each a round; see `Sampled`."""
        failed: dict[int, Outcome] = {}
        left = list(codes)
        while left:
            samples: dict[int, list[float]] = {code: [] for code in left}
            lost = self._rounds(left, samples)
            if lost is None:
                return failed | {code: Outcome(tuple(samples[code])) for code in left}
            failed[lost[0]] = lost[1]
            left.remove(lost[0])
        return failed

    def _rounds(
        self, codes: Sequence[int], samples: Mapping[int, list[float]]
    ) -> tuple[int, Outcome] | None:
        """Fill in the samples; where a configuration fails, return it at once."""
        for code in codes:
            held = self._ask("hold", code)
            if held.failure:
                return code, held
        for turn in range(self._policy.warm_up + self._policy.rounds):
            # now forwards, now backwards, so that none always follows the same one
            for code in codes if turn % 2 == 0 else reversed(codes):
                run = self._isolated.ask("run", code)
                if run.failure:
                    return code, run
                if turn >= self._policy.warm_up:
                    samples[code] += run.samples
        return None

    def close(self) -> None:
        """End the process that measures."""
        self._isolated.close()

    def _ask(self, what: str, code: int) -> Outcome:
        configuration = {**self._space.constants, **self._space.decode(code)}
        try:
            order = self.order(configuration)
        except Exception as error:
            return Outcome(failure="compile", detail=f"{type(error).__name__}: {error}")
        return self._isolated.ask(what, code, order)


def as_measurements(
    objective: Objective, outcomes: Mapping[int, Outcome], about: Mapping[str, Any]
) -> Measurements:
    """Make measurements of outcomes.

    A configuration's time is the median of its samples; as many samples are kept of each as the one
    with the fewest has.

    Raises:
        DataError: None of them ran.
    """
    codes = np.array(sorted(outcomes), dtype=np.int64)
    listed = [outcomes[int(code)] for code in codes]
    ran = [each for each in listed if not each.failure]
    draws = min((len(each.samples) for each in ran), default=0)
    samples = np.full((len(codes), draws), np.inf, dtype=np.float32)
    for row, outcome in enumerate(listed):
        if not outcome.failure:
            samples[row] = outcome.samples[:draws]
    return Measurements(
        space=objective.space,
        codes=codes,
        times=np.array([each.time for each in listed], dtype=np.float64),
        samples=samples,
        failures={
            int(code): each.failure
            for code, each in zip(codes, listed, strict=True)
            if each.failure
        },
        kernel=objective.name,
        device=str(about.get("device", "")),
        about=dict(about),
    )
