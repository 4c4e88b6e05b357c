"""Made-up spaces and measurements for tests."""

import numpy as np

from leanline.tuning import Measurements, Replay, SearchSpace


def small_space(constrained: bool = True) -> SearchSpace:
    """60 configurations, of which 34 meet the constraint."""
    return SearchSpace(
        {"a": [1, 2, 4, 8, 16], "b": [1, 2, 3], "c": [0, 1], "d": ["x", "y"]},
        ["a * b <= 8 or d == 'x' and c == 0"] if constrained else [],
    )


def measured(
    space: SearchSpace, seed: int = 0, draws: int = 5, failing: float = 0.2
) -> Measurements:
    """Random times of all valid configurations, some of which fail."""
    rng = np.random.default_rng(seed)
    codes = space.valid_codes()
    times = rng.uniform(1, 10, len(codes))
    times[rng.random(len(codes)) < failing] = np.inf
    times[0] = 5.0
    samples = (times[:, None] * rng.uniform(0.9, 1.1, (len(codes), draws))).astype(np.float32)
    failures = {int(code): "compile" for code in codes[np.isinf(times)]}
    return Measurements(space, codes.copy(), times, samples, failures, "kernel", "device")


def replay(constrained: bool = True, **options) -> Replay:
    return Replay(measured(small_space(constrained)), **options)
