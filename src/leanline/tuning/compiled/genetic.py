"""Compiled searches with a population: a genetic algorithm, and genetic local search."""

from __future__ import annotations

import numpy as np

from leanline.tuning.compiled.gate import begin, digit_of, end, evaluate, stopped
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


@leaf_jit
def cross(gate, first, second, crossover):  # type: ignore[no-untyped-def]
    """Return two children, which share out the values of two parents."""
    parameters = gate.sizes.size
    start, stop = 0, 0
    if crossover == ONE_POINT and parameters > 1:
        start, stop = 1 + draw_below(gate.stream, parameters - 1), parameters
    elif crossover == TWO_POINT and parameters > 1:
        one, two = draw_below(gate.stream, parameters + 1), draw_below(gate.stream, parameters)
        two += two >= one
        start, stop = min(one, two), max(one, two)
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
def tournament(gate, codes, times, size, places, next_codes, next_times):  # type: ignore[no-untyped-def]
    """Replace the first half of a population by the best of random groups.

    Everybody is in a group before anybody is in a second.
    """
    total, at = codes.size, codes.size
    size = min(size, total)
    for winner in range(next_codes.size):
        if at + size > total:
            shuffle(gate.stream, places, total)
            at = 0
        best = places[at]
        for k in range(at + 1, at + size):
            if times[places[k]] < times[best]:
                best = places[k]
        at += size
        next_codes[winner], next_times[winner] = codes[best], times[best]
    for k in range(next_codes.size):
        codes[k], times[k] = next_codes[k], next_times[k]


@search_jit
def genetic(gate, seeds, settings):  # type: ignore[no-untyped-def]
    """Parents in random pairs get two children each; tournaments among both choose who stays.

    Settings: members, crossover, mutations of a child, size of a tournament.
    """
    members, crossover = int(settings[0]), int(settings[1])
    mutations, size = int(settings[2]), int(settings[3])
    codes, times = np.empty(2 * members, dtype=np.int64), np.empty(2 * members)
    next_codes, next_times = np.empty(members, dtype=np.int64), np.empty(members)
    pairs, places = np.arange(members), np.arange(2 * members)
    for run in range(seeds.size):
        begin(gate, seeds[run])
        for k in range(members):
            codes[k], times[k] = random_start(gate)
        while not stopped(gate):
            _breed(gate, codes, times, pairs, crossover, mutations)
            tournament(gate, codes, times, size, places, next_codes, next_times)
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
    """Children without mutation climb, then replace whom they are most like, if they are better.

    Settings: members, crossover, members that a child is compared with (restricted tournament).
    """
    members, crossover, window = int(settings[0]), int(settings[1]), int(settings[2])
    order, others = scratch(gate)
    codes, times = np.empty(members, dtype=np.int64), np.empty(members)
    pairs, places = np.arange(members), np.arange(members)
    for run in range(seeds.size):
        begin(gate, seeds[run])
        for k in range(members):
            code, time = random_start(gate)
            codes[k], times[k] = climb(gate, code, time, HAMMING, FIRST_RESTART, order, others)
        while not stopped(gate):
            shuffle(gate.stream, pairs, members)
            for k in range(0, members, 2):
                one, two = codes[pairs[k]], codes[pairs[(k + 1) % members]]
                child, sibling = cross(gate, one, two, crossover)
                _raise_child(gate, child, codes, times, window, places, order, others)
                _raise_child(gate, sibling, codes, times, window, places, order, others)
        end(gate, run)


@leaf_jit
def _raise_child(gate, code, codes, times, window, places, order, others):  # type: ignore[no-untyped-def]
    """Let a child climb, and put it in the place of whom it is most like, if it is better."""
    time = evaluate(gate, code)
    code, time = climb(gate, code, time, HAMMING, FIRST_RESTART, order, others)
    nearest, apart = places[0], gate.sizes.size + 1
    for k in range(min(window, codes.size)):
        other = k + draw_below(gate.stream, codes.size - k)
        places[k], places[other] = places[other], places[k]
        between = distance(gate, code, codes[places[k]])
        if between < apart:
            nearest, apart = places[k], between
    if time < times[nearest]:
        codes[nearest], times[nearest] = code, time
