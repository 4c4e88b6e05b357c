"""Random numbers for compiled searches: SplitMix64, whose state is one 64-bit number.

Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014). A search's numbers
are its own, so that they are the same whatever NumPy or Numba version runs it.
"""

from __future__ import annotations

import numpy as np

from leanline.tuning.compiled.jit import leaf_jit

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31, _11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_UNIT = 2.0**-53


@leaf_jit
def mix(value):  # type: ignore[no-untyped-def]
    """Spread a 64-bit number's bits over all of them."""
    value = (value ^ (value >> _30)) * _FIRST
    value = (value ^ (value >> _27)) * _SECOND
    return value ^ (value >> _31)


@leaf_jit
def start_stream(stream, seed):  # type: ignore[no-untyped-def]
    """Start the numbers of a run, and the key of its drawn times."""
    stream[0] = mix(np.uint64(seed) + GOLDEN)
    stream[1] = mix(stream[0] ^ GOLDEN)


@leaf_jit
def draw(stream):  # type: ignore[no-untyped-def]
    """A number from 0 up to but without 1."""
    stream[0] += GOLDEN
    return np.float64(mix(stream[0]) >> _11) * _UNIT


@leaf_jit
def draw_below(stream, count):  # type: ignore[no-untyped-def]
    """An integer from 0 up to but without `count`."""
    return np.int64(draw(stream) * count)


@leaf_jit
def shuffle(stream, values, count):  # type: ignore[no-untyped-def]
    """Bring the first `count` values into random order."""
    for last in range(count - 1, 0, -1):
        other = draw_below(stream, last + 1)
        values[last], values[other] = values[other], values[last]
