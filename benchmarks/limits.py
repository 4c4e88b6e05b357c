"""What this machine can do at best: multiply-adds in registers, reading from cache and memory.

Measured with the vectors that the kernels are written in, but with none of the kernels. The best of
several tries counts, since noise only makes things slower.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numba as nb
import numpy as np
from numba.core import cgutils, types
from numba.extending import intrinsic

from leanline.kernels import vector as v
from leanline.kernels.workers import each

CHAINS = 12
"""Sums that do not wait for each other: 4 cycles of latency on 2 units need 8; 16 registers hold 12
and two operands."""

STREAMS = 8
CACHE_BYTES, MEMORY_BYTES = 6 << 20, 256 << 20
"""What each thread reads: beyond the second-level cache, within the last; beyond all caches."""


@dataclass(frozen=True)
class Limits:
    """What all threads together reach.

    Attributes:
        threads: how many.
        multiply_adds: float32 multiply-adds a second, all operands in registers.
        cache_bytes: read a second from the last-level cache.
        memory_bytes: read a second from memory.
    """

    threads: int
    multiply_adds: float
    cache_bytes: float
    memory_bytes: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a file."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.threads} thread(s): {2e-9 * self.multiply_adds:.0f} GFLOP/s in registers, "
            f"{1e-9 * self.cache_bytes:.0f} GB/s from the last-level cache, "
            f"{1e-9 * self.memory_bytes:.0f} GB/s from memory"
        )


def measure_limits(threads: int, seconds: float = 0.3) -> Limits:
    """Measure the limits of some threads, about ``seconds`` each."""
    turns = 1_000_000
    seeds = [np.full(CHAINS * v.LANES, 0.5, np.float32) for _ in range(threads)]
    work = float(turns * CHAINS * v.LANES)
    return Limits(
        threads,
        _rate(threads, seconds, work, lambda i: _multiply(seeds[i], turns)),
        _reading(threads, seconds, CACHE_BYTES),
        _reading(threads, seconds, MEMORY_BYTES),
    )


def _reading(threads: int, seconds: float, size: int) -> float:
    arrays = [np.ones(size // 4, np.float32) for _ in range(threads)]
    turns = max(1, MEMORY_BYTES // size)
    results = np.zeros((threads, STREAMS * v.LANES), np.float32)
    return _rate(
        threads, seconds, float(size * turns), lambda i: _read(arrays[i], results[i], turns)
    )


def _rate(threads: int, seconds: float, work: float, run: Callable[[int], None]) -> float:
    """Work a second of all threads together, in the best of at least 3 tries."""
    each(threads, threads, run)  # compiles, and fills the caches
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while len(taken) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        each(threads, threads, run)
        taken.append(time.perf_counter() - start)
    return threads * work / min(taken)


@intrinsic  # type: ignore[untyped-decorator]
def _chains(typing_context, data, turns):  # type: ignore[no-untyped-def]
    """``turns`` times ``x = x * a + b`` on `CHAINS` vectors, which are read and written once."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = context.make_array(sig.args[0])(context, builder, args[0]).data
        places = [v.int_constant(chain * v.LANES) for chain in range(CHAINS)]
        sums = v.Registers(builder, CHAINS)
        for chain, place in enumerate(places):
            sums[chain] = v.load(builder, pointer, place)
        half = v.splat(builder, v.load_scalar(builder, pointer, v.int_constant(0)))
        with cgutils.for_range(builder, args[1]):
            for chain in range(CHAINS):
                sums[chain] = v.multiply_add(builder, sums[chain], half, half)
        for chain, place in enumerate(places):
            v.store(builder, sums[chain], pointer, place)
        return context.get_dummy_value()

    return types.void(data, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _streams(typing_context, data, result, blocks):  # type: ignore[no-untyped-def]
    """Add up an array, of so many times `STREAMS` vectors, in `STREAMS` sums."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        source, target = (
            context.make_array(sig.args[i])(context, builder, args[i]).data for i in range(2)
        )
        sums = v.Registers(builder, STREAMS)
        places = [v.int_constant(stream * v.LANES) for stream in range(STREAMS)]
        for stream in range(STREAMS):
            sums[stream] = v.zero()
        with cgutils.for_range(builder, args[2]) as loop:
            begin = builder.mul(loop.index, v.int_constant(STREAMS * v.LANES))
            for stream, place in enumerate(places):
                found = v.load(builder, source, builder.add(begin, place))
                sums[stream] = builder.fadd(sums[stream], found)
        for stream, place in enumerate(places):
            v.store(builder, sums[stream], target, place)
        return context.get_dummy_value()

    return types.void(data, result, types.int64), generate


@nb.njit(nogil=True)
def _multiply(data, turns):  # type: ignore[no-untyped-def]
    _chains(data, turns)


@nb.njit(nogil=True)
def _read(data, result, turns):  # type: ignore[no-untyped-def]
    for _ in range(turns):
        _streams(data, result, data.size // result.size)
