"""Compiled searches by climbing: multi-start, iterated, tabu, simulated annealing, and none."""

from __future__ import annotations

import math

import numpy as np

from leanline.tuning.compiled.gate import (
    CLOCK,
    PENALTY,
    begin,
    end,
    evaluate,
    is_new,
    is_ruled_out,
    random_code,
    slot_of,
    stopped,
    with_digit,
)
from leanline.tuning.compiled.jit import leaf_jit, search_jit
from leanline.tuning.compiled.moves import (
    BEST_IMPROVEMENT,
    FIRST_RESTART,
    HAMMING,
    along,
    arrange,
    climb,
    jump,
    random_start,
    scratch,
)
from leanline.tuning.compiled.random import draw

TRIES = 64
"""Draws of a code that was evaluated already, after which the next one in order is taken."""


@leaf_jit
def random_sampling(gate, seeds, settings):  # type: ignore[no-untyped-def]
    """Evaluate random codes, none twice."""
    for run in range(seeds.size):
        begin(gate, seeds[run])
        while not stopped(gate):
            code = random_code(gate)
            tries = 1
            while not is_new(gate, code) and tries < TRIES:
                code = random_code(gate)
                tries += 1
            evaluate(gate, code if tries < TRIES else _next_new(gate, code))
        end(gate, run)


@leaf_jit
def _next_new(gate, code):  # type: ignore[no-untyped-def]
    """The first code from here on that would cost; the gate stops before there is none."""
    allowed = gate.allowed
    total = allowed.size
    at = np.searchsorted(allowed, code) if total else code
    if not total:
        total = 1
        for size in gate.sizes:
            total *= size
    for step in range(total):
        other = (at + step) % total
        if allowed.size:
            other = allowed[other]
        if is_new(gate, other):
            return other
    return code


@search_jit
def multi_start(gate, seeds, settings):  # type: ignore[no-untyped-def]
    """Climb from random starts; settings: neighbourhood, rule."""
    hood, rule = int(settings[0]), int(settings[1])
    order, others = scratch(gate)
    for run in range(seeds.size):
        begin(gate, seeds[run])
        while not stopped(gate):
            code, time = random_start(gate)
            climb(gate, code, time, hood, rule, order, others)
        end(gate, run)


@search_jit
def iterated(gate, seeds, settings):  # type: ignore[no-untyped-def]
    """Climb, then jump from the best of the run and climb again.

    Settings: neighbourhood, rule, changes of a jump, climbs in vain after which one climb begins at
    random. What it finds is the new best only if it is better.
    """
    hood, rule = int(settings[0]), int(settings[1])
    changes, patience = int(settings[2]), int(settings[3])
    order, others = scratch(gate)
    for run in range(seeds.size):
        begin(gate, seeds[run])
        code, time = random_start(gate)
        code, time = climb(gate, code, time, hood, rule, order, others)
        in_vain = 0
        while not stopped(gate):
            if in_vain >= patience:
                other, other_time = random_start(gate)
                in_vain = 0
            else:
                other = jump(gate, code, changes)
                other_time = evaluate(gate, other)
            other, other_time = climb(gate, other, other_time, hood, rule, order, others)
            if other_time < time:
                code, time, in_vain = other, other_time, 0
            else:
                in_vain += 1
        end(gate, run)


@search_jit
def tabu(gate, seeds, settings):  # type: ignore[no-untyped-def]
    """Move to a neighbour that was not visited lately, even a worse one.

    Settings: neighbourhood, rule (`FIRST_RESTART`: the first better one, else the best of all;
    `BEST_IMPROVEMENT`: the best of all), how many visits back a code is tabu.
    """
    hood, rule, length = int(settings[0]), int(settings[1]), int(settings[2])
    order, others = scratch(gate)
    for run in range(seeds.size):
        begin(gate, seeds[run])
        while not stopped(gate):
            code, time = random_start(gate)
            while code >= 0 and not stopped(gate):
                _visit(gate, code)
                code, time = _tabu_step(gate, code, time, hood, rule, length, order, others)
        end(gate, run)


@leaf_jit
def _visit(gate, code):  # type: ignore[no-untyped-def]
    gate.state[CLOCK] += 1
    slot = slot_of(gate, code)
    if slot >= 0:
        gate.mark[slot] = gate.state[CLOCK]


@leaf_jit
def _tabu_step(gate, code, time, hood, rule, length, order, others):  # type: ignore[no-untyped-def]
    """The neighbour to move to, -1 where all are tabu."""
    best, best_time = np.int64(-1), np.inf
    arrange(gate, order, rule)
    for parameter in order:
        count = along(gate, code, parameter, hood, rule, others)
        for k in range(count):
            other = with_digit(gate, code, parameter, others[k])
            slot = slot_of(gate, other)
            if slot >= 0 and gate.mark[slot] > gate.state[CLOCK] - length:
                continue
            if is_ruled_out(gate, other):
                continue
            other_time = evaluate(gate, other)
            if stopped(gate):
                return best, best_time
            if best < 0 or other_time < best_time:
                best, best_time = other, other_time
            if rule != BEST_IMPROVEMENT and other_time < time:
                return other, other_time
    return best, best_time


@search_jit
def annealing(gate, seeds, settings):  # type: ignore[no-untyped-def]
    """Jump, climb, and accept the result with a probability that sinks with the temperature.

    Settings: changes of a jump, whether to climb (1) or not (0), first and last temperature (ms),
    steps of the schedule; after them the temperature stays at its last value.
    """
    changes, climbs = int(settings[0]), settings[1] > 0
    hot, cold, steps = settings[2], settings[3], settings[4]
    order, others = scratch(gate)
    for run in range(seeds.size):
        begin(gate, seeds[run])
        code, time = random_start(gate)
        step = 0.0
        while not stopped(gate):
            temperature = hot * math.exp(-math.log(hot / cold) * min(1.0, step / steps))
            step += 1.0
            other = jump(gate, code, changes)
            other_time = evaluate(gate, other)
            if climbs and not stopped(gate):
                other, other_time = climb(
                    gate, other, other_time, HAMMING, FIRST_RESTART, order, others
                )
            worse = min(other_time, PENALTY) - min(time, PENALTY)
            if worse <= 0 or draw(gate.stream) < math.exp(-worse / temperature):
                code, time = other, other_time
        end(gate, run)
