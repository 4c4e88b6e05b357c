"""Compiled searches with a population: a genetic algorithm, and genetic local search."""

from __future__ import annotations

import numpy as np

from leanline.tuning.compiled.gate import PENALTY, begin, digit_of, end, evaluate, stopped
from leanline.tuning.compiled.jit import leaf_jit, search_jit
from leanline.tuning.compiled.moves import (
    FIRST_RESTART,
    HAMMING,
    climb,
    jump,
    random_start,
    scratch,
)
from leanline.tuning.compiled.random import draw, draw_below, shuffle

# how two parents are mixed
ONE_POINT, TWO_POINT, UNIFORM = 0, 1, 2

CROSSOVERS = {"one-point": ONE_POINT, "two-point": TWO_POINT, "uniform": UNIFORM}

CONVERGED = 1e-10
"""Mean squared excess over the best, ms^2, below which a population has converged (the paper's)."""


@leaf_jit
def cross(gate, first, second, crossover):  # type: ignore[no-untyped-def]
    """Return two children, which share out the values of two parents."""
    parameters = gate.sizes.size
    start, stop = 0, 0
    if crossover == ONE_POINT and parameters > 1:
        start, stop = 1 + draw_below(gate.stream, parameters - 1), parameters
    elif crossover == TWO_POINT and parameters > 1:
        start = 1 + draw_below(gate.stream, max(1, parameters - 2))
        stop = start + draw_below(gate.stream, parameters - start)
    moved = np.int64(0)
    for p in range(parameters):
        if draw(gate.stream) < 0.5 if crossover == UNIFORM else start <= p < stop:
            moved += (digit_of(gate, second, p) - digit_of(gate, first, p)) * gate.strides[p]
    return first + moved, second - moved


@leaf_jit
def distance(gate, first, second):  # type: ignore[no-untyped-def]
    """Number of parameters in which two configurations differ."""
    apart = 0
    for p in range(gate.sizes.size):
        apart += digit_of(gate, first, p) != digit_of(gate, second, p)
    return apart


@leaf_jit
def tournament(gate, codes, times, size, next_codes, next_times):  # type: ignore[no-untyped-def]
    """Replace the first half of a population by winners against random challengers.

    All draws are with replacement, so that the best may be lost and the population converges.
    """
    for winner in range(next_codes.size):
        best = draw_below(gate.stream, codes.size)
        for _ in range(size):
            other = draw_below(gate.stream, codes.size)
            if times[other] < times[best]:
                best = other
        next_codes[winner], next_times[winner] = codes[best], times[best]
    for k in range(next_codes.size):
        codes[k], times[k] = next_codes[k], next_times[k]


@leaf_jit
def converged(times, count):  # type: ignore[no-untyped-def]
    """Whether the first members are equally fast: the mean squared excess over the best is 0."""
    best, total = PENALTY, 0.0
    for k in range(count):
        best = min(best, times[k])
    for k in range(count):
        total += (min(times[k], PENALTY) - best) ** 2
    return total / count < CONVERGED


@search_jit
def genetic(gate, seeds, settings):  # type: ignore[no-untyped-def]
    """Parents in random pairs get two children each; tournaments among both choose who stays.

    Settings: members, crossover, mutations of a child, challengers in a tournament.
    """
    members, crossover = int(settings[0]), int(settings[1])
    mutations, size = int(settings[2]), int(settings[3])
    codes, times = np.empty(2 * members, dtype=np.int64), np.empty(2 * members)
    next_codes, next_times = np.empty(members, dtype=np.int64), np.empty(members)
    pairs = np.arange(members)
    for run in range(seeds.size):
        begin(gate, seeds[run])
        for k in range(members):
            codes[k], times[k] = random_start(gate)
        while not stopped(gate):
            _breed(gate, codes, times, pairs, crossover, mutations)
            tournament(gate, codes, times, size, next_codes, next_times)
            if converged(times, members):
                break
        end(gate, run)


@leaf_jit
def _breed(gate, codes, times, pairs, crossover, mutations):  # type: ignore[no-untyped-def]
    """Fill the second half of the population with children of the first."""
    members = pairs.size
    shuffle(gate.stream, pairs, members)
    for k in range(0, members, 2):
        one, two = codes[pairs[k]], codes[pairs[(k + 1) % members]]
        child, sibling = cross(gate, one, two, crossover)
        codes[members + k] = jump(gate, child, mutations)
        if k + 1 < members:
            codes[members + k + 1] = jump(gate, sibling, mutations)
    for k in range(members, 2 * members):
        times[k] = evaluate(gate, codes[k])


@search_jit
def genetic_local_search(gate, seeds, settings):  # type: ignore[no-untyped-def]
    """Children without mutation climb; those better than the parent most like them may stay.

    Settings: members, crossover, parents that a child is compared with (restricted tournament).
    """
    members, crossover, window = int(settings[0]), int(settings[1]), int(settings[2])
    order, others = scratch(gate)
    codes, times = np.empty(2 * members + 1, dtype=np.int64), np.empty(2 * members + 1)
    pairs = np.arange(members)
    for run in range(seeds.size):
        begin(gate, seeds[run])
        for k in range(members):
            codes[k], times[k] = random_start(gate)
        while not stopped(gate):
            shuffle(gate.stream, pairs, members)
            count = members
            for k in range(0, members, 2):
                one, two = codes[pairs[k]], codes[pairs[(k + 1) % members]]
                child, sibling = cross(gate, one, two, crossover)
                for code in (child, sibling):
                    time = evaluate(gate, code)
                    code, time = climb(gate, code, time, HAMMING, FIRST_RESTART, order, others)
                    if time < times[_rival(gate, code, codes, members, window)]:
                        codes[count], times[count] = code, time
                        count += 1
            keep_best(codes, times, count, members)
            if converged(times, members):
                break
        end(gate, run)


@leaf_jit
def _rival(gate, code, codes, members, window):  # type: ignore[no-untyped-def]
    """Who is most like a child, of some parents drawn with replacement."""
    nearest, apart = 0, gate.sizes.size + 1
    for _ in range(window):
        other = draw_below(gate.stream, members)
        between = distance(gate, code, codes[other])
        if between < apart:
            nearest, apart = other, between
    return nearest


@leaf_jit
def keep_best(codes, times, count, members):  # type: ignore[no-untyped-def]
    """Bring the best of the first `count` to the front, in order."""
    for k in range(members):
        best = k
        for other in range(k + 1, count):
            if times[other] < times[best]:
                best = other
        codes[k], codes[best] = codes[best], codes[k]
        times[k], times[best] = times[best], times[k]
