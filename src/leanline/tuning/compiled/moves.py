"""Parts of searches that move over a space: neighbours in random order, climbs, jumps."""

from __future__ import annotations

import numpy as np

from leanline.tuning.compiled.gate import (
    digit_of,
    evaluate,
    random_code,
    stopped,
    with_digit,
)
from leanline.tuning.compiled.jit import leaf_jit, search_jit
from leanline.tuning.compiled.random import draw_below, shuffle

# which configurations are neighbours
HAMMING, ADJACENT = 0, 1

# which of them a climb moves to
FIRST_RESTART, FIRST_CONTINUE, BEST_IMPROVEMENT = 0, 1, 2

CLIMBS = {"first-restart": 0, "first-continue": 1, "best": 2}
NEIGHBOURHOODS = {"hamming": 0, "adjacent": 1}


@search_jit
def scratch(gate):  # type: ignore[no-untyped-def]
    """Memory for an order of the parameters, and for the neighbours along one of them."""
    return np.arange(gate.sizes.size), np.empty(gate.sizes.max() + 1, dtype=np.int64)


@leaf_jit
def arrange(gate, order, rule):  # type: ignore[no-untyped-def]
    """Put the parameters into random order, or for `BEST_IMPROVEMENT` leave them as they are."""
    if rule != BEST_IMPROVEMENT:
        shuffle(gate.stream, order, order.size)


@leaf_jit
def along(gate, code, parameter, hood, rule, others):  # type: ignore[no-untyped-def]
    """List the other digits that a parameter may have in a neighbour.

    In random order; for `BEST_IMPROVEMENT` in their own.
    """
    digit, size = digit_of(gate, code, parameter), gate.sizes[parameter]
    count = 0
    if hood == ADJACENT:
        if digit > 0:
            others[count] = digit - 1
            count += 1
        if digit < size - 1:
            others[count] = digit + 1
            count += 1
    else:
        for other in range(size):
            if other != digit:
                others[count] = other
                count += 1
    if rule != BEST_IMPROVEMENT:
        shuffle(gate.stream, others, count)
    return count


@leaf_jit
def climb(gate, code, time, hood, rule, order, others):  # type: ignore[no-untyped-def]
    """Move to better neighbours until there is none, and return the last code and its time.

    Parameters come in random order, and so do the values of each.

    Args:
        gate: The gate.
        code: Where to start.
        time: Its time.
        hood: `HAMMING` or `ADJACENT`.
        rule: `FIRST_RESTART`: take the first better neighbour and begin a new order there;
            `FIRST_CONTINUE`: take it and go on through the old order;
            `BEST_IMPROVEMENT`: look at all neighbours, in order, and take the best.
        order: Memory for the order of the parameters.
        others: Memory for the neighbours along one.
    """
    improved = True
    while improved:
        improved = False
        arrange(gate, order, rule)
        next_code, next_time = code, time
        for parameter in order:
            count = along(gate, code, parameter, hood, rule, others)
            for k in range(count):
                other = with_digit(gate, code, parameter, others[k])
                other_time = evaluate(gate, other)
                if stopped(gate):
                    return code, time
                if other_time < next_time:
                    next_code, next_time = other, other_time
                    improved = True
                    if rule == FIRST_RESTART:
                        break
                    if rule == FIRST_CONTINUE:
                        code, time = other, other_time
            if improved and rule == FIRST_RESTART:
                break
        code, time = next_code, next_time
    return code, time


@leaf_jit
def jump(gate, code, changes):  # type: ignore[no-untyped-def]
    """Give a random parameter a random value, a number of times; no evaluation.

    The value may be the one that it has.
    """
    for _ in range(changes):
        parameter = draw_below(gate.stream, gate.sizes.size)
        digit = draw_below(gate.stream, gate.sizes[parameter])
        code = with_digit(gate, code, parameter, digit)
    return code


@leaf_jit
def random_start(gate):  # type: ignore[no-untyped-def]
    """Draw a code and evaluate it."""
    code = random_code(gate)
    return code, evaluate(gate, code)
