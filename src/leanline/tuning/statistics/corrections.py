"""Many tests at once."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64


def holm(p: Float64[np.ndarray, "tests"]) -> Float64[np.ndarray, "tests"]:
    """Adjust p-values so that the chance of any false finding among them stays below the level.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6 (1979): the i-th smallest of m is multiplied by m - i + 1, and made no smaller
    than those before it. Nothing is assumed about how the tests depend on each other.

    Args:
        p: p-values; those that are not numbers stay so and are not counted.

    Returns:
        The adjusted ones, at most 1, in the order given.
    """
    adjusted = p.copy()
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * p[order]), 1.0)
    return adjusted
