"""An objective whose measurements are kept in a folder, and looked up there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from leanline.records.progress import Bar
from leanline.tuning.measuring.journal import Journal
from leanline.tuning.measuring.outcome import Outcome
from leanline.tuning.measuring.sampled import Sampled
from leanline.tuning.measuring.timing import TimingPolicy
from leanline.tuning.objectives import Objective
from leanline.tuning.space import SearchSpace


class Recorded(Sampled):
    """An objective that measures what the journal does not have, and adds it.

    A search that is run again with the same seed sees the times that it saw before, comes to the
    same point, and goes on from there.
    """

    def __init__(self, objective: Objective, journal: Journal, bar: Bar) -> None:
        """Wrap an objective.

        Args:
            objective: What is measured.
            journal: Where it is kept.
            bar: What is told of each configuration.
        """
        self._objective, self._journal, self._bar = objective, journal, bar
        self._best = math.inf

    @property
    def space(self) -> SearchSpace:
        """The configurations."""
        return self._objective.space

    @property
    def name(self) -> str:
        """What tables call it."""
        return self._objective.name

    @property
    def optimum(self) -> float:
        """The best time there is in ms; not a number where that is not known."""
        return self._objective.optimum

    @property
    def policy(self) -> TimingPolicy:
        """How often it repeats; what is no measured kernel is not measured again."""
        if isinstance(self._objective, Sampled):
            return self._objective.policy
        return TimingPolicy(leaders=0)

    @property
    def about(self) -> Mapping[str, str]:
        """The device and the versions of what drives it."""
        return self._objective.about if isinstance(self._objective, Sampled) else {}

    def known(self) -> None:
        """Nothing is known beforehand."""
        return None

    def measure(self, code: int) -> float:
        """The time of a configuration in ms, infinite where it fails."""
        return self.sample(code).time

    def sample(self, code: int) -> Outcome:
        """Look a configuration up, or measure it.

        Raises:
            RunError: It cannot be measured at all, or not written down.
        """
        self._journal.refresh()
        outcome = self._journal.outcomes.get(code)
        if outcome is None:
            outcome = self._journal.add(code, self._measured(code))
        self._best = min(self._best, outcome.time)
        self._bar.advance(best=self._best)
        return outcome

    def in_turn(self, codes: Sequence[int]) -> dict[int, Outcome]:
        """Look up, or measure, configurations in turn."""
        found = self._journal.in_turn(frozenset(codes))
        if found is None and isinstance(self._objective, Sampled):
            found = self._objective.in_turn(codes)
            self._journal.add_in_turn(found)
        return found or {}

    def close(self) -> None:
        """Give the device back."""
        if isinstance(self._objective, Sampled):
            self._objective.close()

    def _measured(self, code: int) -> Outcome:
        if isinstance(self._objective, Sampled):
            return self._objective.sample(code)
        try:
            time = self._objective.measure(code)
        except Exception as error:
            return Outcome(failure="runtime", detail=f"{type(error).__name__}: {error}")
        return Outcome((time,)) if math.isfinite(time) else Outcome(failure="runtime")
