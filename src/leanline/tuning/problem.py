"""A budget on an objective, behind the gate: what an optimiser is run on."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Int64, UInt64

from leanline.errors import ConfigError
from leanline.tuning.compiled import gate as compiled
from leanline.tuning.objectives import Objective, Replay

Protocol: TypeAlias = Literal["paper", "valid"]
"""``paper``: the whole Cartesian product is searched, and an invalid configuration costs an
evaluation. ``valid``: what breaks a constraint is known beforehand, costs nothing and is never
drawn; a configuration that meets them and fails when it is measured still costs."""

DENSE = 1 << 22
"""Up to so many configurations the tables have a slot for each; beyond, slots are hashed."""

PATIENCE = 200_000
"""Look-ups in a row that bring nothing new, after which a run ends as stalled."""

ENDINGS = {
    compiled.SPENT: "budget spent",
    compiled.OPTIMUM: "optimum found",
    compiled.EXHAUSTED: "space exhausted",
    compiled.STALLED: "nothing new",
    compiled.FINISHED: "finished",
}
"""Why a run ended."""


class SearchEnded(Exception):  # noqa: N818 - it is a signal, not an error
    """Raised by `Problem.evaluate` when the search has to end; the gate's caller catches it."""


class Problem:
    """An objective with a budget.

    Attributes:
        objective: What is minimised.
        space: Its configurations.
        budget: Number of unique evaluations.
        gate: The tables that compiled searches work on.
    """

    def __init__(
        self,
        objective: Objective,
        budget: int,
        *,
        protocol: Protocol = "valid",
        runs: int = 1,
        stop_at: float | None = None,
    ) -> None:
        """Prepare the tables.

        Args:
            objective: What is minimised.
            budget: Number of unique evaluations of a run.
            protocol: What may be evaluated, and what it costs.
            runs: How many runs will be made.
            stop_at: A mean time in ms at which a run ends; None: where the optimum is known, it.

        Raises:
            ConfigError: The budget or the number of runs is below 1, or there is no such protocol.
        """
        if budget < 1 or runs < 1:
            raise ConfigError(
                f"a budget of {budget} evaluations and {runs} runs were given; at least 1 is wanted"
            )
        if protocol not in ("paper", "valid"):
            raise ConfigError(f"protocol {protocol!r} was asked for; there are paper and valid")
        self.objective, self.space, self.budget = objective, objective.space, budget
        self.protocol = protocol
        if stop_at is None:
            stop_at = objective.optimum if objective.optimum == objective.optimum else 0.0
        self.gate = self._tables(runs, stop_at)
        self._known: dict[int, float] = {}

    def _tables(self, runs: int, stop_at: float) -> compiled.Gate:
        space, known = self.space, self.objective.known()
        empty = np.empty(0, dtype=np.int64)
        codes, times = known if known is not None else (empty, np.empty(0))
        unknown = np.inf if known is not None else np.nan
        missing = compiled.FREE if self.protocol == "valid" else unknown
        allowed = empty
        if self.protocol == "valid":
            ran = codes[np.isfinite(times)]
            allowed = np.union1d(space.valid_codes(), ran).astype(np.int64)
            if not len(allowed):
                raise ConfigError(f"no configuration of {space!r} meets the constraints")
        elif known is None and space.cartesian_size <= DENSE:
            # what breaks a constraint is not measured, but it costs
            every = np.arange(space.cartesian_size)
            codes = every[~space.is_valid(every)]
            times = np.full(len(codes), np.inf)
        keys = empty
        slots = space.cartesian_size
        if slots > DENSE:
            listed = len(np.union1d(allowed, codes))
            slots = 1 << (2 * (listed + runs * (self.budget + 1))).bit_length()
            keys = np.full(slots, -1, dtype=np.int64)
        time = np.full(slots, missing)
        samples = np.empty((0, 0), dtype=np.float32)
        row = np.empty(0, dtype=np.int32)
        measured = self.objective
        if isinstance(measured, Replay) and measured.times == "drawn":
            samples = np.ascontiguousarray(measured.measurements.samples)
            row = np.full(slots, -1, dtype=np.int32)
        free = space.sizes > 1
        free[0] |= not free.any()
        gate = compiled.Gate(
            sizes=space.sizes[free],
            strides=space.strides[free],
            keys=keys,
            time=time,
            missing=np.array([missing]),
            row=row,
            samples=samples,
            allowed=allowed,
            seen=np.zeros(slots, dtype=np.int32),
            mark=np.zeros(slots, dtype=np.int64),
            state=np.zeros(9, dtype=np.int64),
            limits=np.array(
                [self.budget, len(allowed) or space.cartesian_size, PATIENCE], dtype=np.int64
            ),
            best=np.array([np.inf, stop_at]),
            stream=np.zeros(2, dtype=np.uint64),
            codes=np.zeros(self.budget, dtype=np.int64),
            times=np.zeros(self.budget),
            found=np.full(runs, -1, dtype=np.int64),
            spent=np.zeros(runs, dtype=np.int64),
            looked=np.zeros(runs, dtype=np.int64),
            ended=np.zeros(runs, dtype=np.int64),
        )
        if len(allowed):
            compiled.tell_all(gate, allowed, np.full(len(allowed), unknown), False)
        compiled.tell_all(gate, codes, times, known is not None)
        return gate

    def begin(self, seed: np.uint64) -> None:
        """Begin a run of an optimiser that calls `evaluate`."""
        self._known = {}
        compiled.begin(self.gate, seed)

    def end(self, run: int) -> None:
        """End it."""
        compiled.end(self.gate, run)

    def evaluate(self, code: int) -> float:
        """Return the time of a configuration in ms; infinite where it fails or is ruled out.

        Counts the configuration the first time in a run.

        Raises:
            SearchEnded: The budget is spent, the optimum found, or all was evaluated.
        """
        state = self.gate.state
        if code in self._known and state[compiled.IDLE] < PATIENCE:
            # what the gate would do, without the time that a call into compiled code takes
            state[compiled.IDLE] += 1
            state[compiled.LOOKUPS] += 1
            return self._known[code]
        time = float(compiled.evaluate(self.gate, code))
        if state[compiled.STATUS] == compiled.ASKING:
            self.answer()
            state[compiled.STATUS] = compiled.RUNNING
            time = float(compiled.evaluate(self.gate, code))
        if state[compiled.STATUS] != compiled.RUNNING:
            raise SearchEnded
        self._known[code] = time
        return time

    def answer(self) -> None:
        """Measure the configuration at which the gate stopped."""
        code = int(self.gate.state[compiled.CODE])
        one = np.array([code], dtype=np.int64)
        time = self.objective.measure(code) if self.space.is_valid(one)[0] else np.inf
        compiled.tell_all(self.gate, one, np.array([time]), False)

    def allowed(self) -> Int64[np.ndarray, "_"] | None:
        """The codes that may be evaluated; None: all."""
        return self.gate.allowed if len(self.gate.allowed) else None

    @property
    def ended(self) -> bool:
        """Whether this run has to end."""
        return bool(self.gate.state[compiled.STATUS] != compiled.RUNNING)

    @property
    def evaluations(self) -> int:
        """Unique evaluations of this run so far."""
        return int(self.gate.state[compiled.USED])


def seeds_of(seed: int, runs: int, *key: str | int) -> UInt64[np.ndarray, "runs"]:
    """Seeds for runs: other ones for every seed and key, the same on every machine.

    Args:
        seed: The user's seed.
        runs: How many.
        *key: What the runs are of.

    Raises:
        ConfigError: The seed is below 0.
    """
    if seed < 0:
        raise ConfigError(f"the seed {seed} was given; a whole number from 0 on is wanted")
    words = [seed]
    for part in key:
        words += list(part.encode()) if isinstance(part, str) else [part]
        words.append(0)
    return np.random.SeedSequence(words).generate_state(runs, np.uint64)
