"""One gate counts evaluations, for every search: what is known, what was asked, when to stop."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64, UInt64

from leanline.tuning.compiled.jit import leaf_jit
from leanline.tuning.compiled.random import draw_below, mix, start_stream

FREE = -1.0
"""In place of a time: the code is ruled out beforehand, and asking for it costs nothing."""

PENALTY = 1e10
"""Milliseconds that stand for a failure where a difference or a sum is wanted (the paper's)."""

# what `state` holds
STATUS, USED, LOOKUPS, IDLE, STAMP, CODE, BEST, CLOCK, RUN = range(9)

# what state[STATUS] says
RUNNING, SPENT, OPTIMUM, EXHAUSTED, STALLED, ASKING, FINISHED = range(7)

# what `limits` holds
BUDGET, NUMBER, PATIENCE = range(3)


class Gate(NamedTuple):
    """What a search works on.

    A code's slot in the tables is the code itself, or where it is found by hashing if `keys` is not
    empty. Times are milliseconds; infinite: the configuration fails; not a number: not measured
    yet; `FREE`: ruled out beforehand. Of parameters that have no choice there are none, but for the
    first where no parameter has a choice.
    """

    sizes: Int64[np.ndarray, "parameters"]
    strides: Int64[np.ndarray, "parameters"]
    keys: Int64[np.ndarray, "_"]  # code of a slot, -1: empty
    time: Float64[np.ndarray, "slots"]
    missing: Float64[np.ndarray, "1"]  # time of a code that has no slot
    row: Int32[np.ndarray, "_"]  # of `samples`, for each slot; empty: times are not drawn
    samples: Float32[np.ndarray, "rows draws"]
    allowed: Int64[np.ndarray, "_"]  # codes to draw from; empty: all
    seen: Int32[np.ndarray, "slots"]  # stamp of the last run that evaluated the code
    mark: Int64[np.ndarray, "slots"]  # for a search's own use: clock values
    state: Int64[np.ndarray, "9"]
    limits: Int64[np.ndarray, "3"]
    best: Float64[np.ndarray, "2"]  # best time so far; mean time at which to stop
    stream: UInt64[np.ndarray, "2"]  # random numbers; key of the drawn times
    codes: Int64[np.ndarray, "budget"]  # the trace of the last run
    times: Float64[np.ndarray, "budget"]
    found: Int64[np.ndarray, "runs"]  # best code of each run, -1: none
    spent: Int64[np.ndarray, "runs"]
    looked: Int64[np.ndarray, "runs"]
    ended: Int64[np.ndarray, "runs"]  # status of each run


@leaf_jit
def begin(gate, seed):  # type: ignore[no-untyped-def]
    """Begin a run: forget what was evaluated, start the random numbers."""
    state = gate.state
    state[STATUS] = RUNNING
    state[USED] = 0
    state[LOOKUPS] = 0
    state[IDLE] = 0
    state[BEST] = -1
    state[STAMP] += 1
    state[CLOCK] += 1 << 32  # marks of earlier runs are long ago
    gate.best[0] = np.inf
    start_stream(gate.stream, seed)
    if gate.limits[BUDGET] < 1 or gate.limits[NUMBER] < 1:
        state[STATUS] = SPENT if gate.limits[BUDGET] < 1 else EXHAUSTED


@leaf_jit
def end(gate, run):  # type: ignore[no-untyped-def]
    """End a run and keep its result."""
    state = gate.state
    if state[STATUS] == RUNNING:
        state[STATUS] = FINISHED
    gate.found[run] = state[BEST]
    gate.spent[run] = state[USED]
    gate.looked[run] = state[LOOKUPS]
    gate.ended[run] = state[STATUS]


@leaf_jit
def find(gate, code):  # type: ignore[no-untyped-def]
    """The slot of a code; where it has none, the empty slot for it."""
    keys = gate.keys
    if keys.size == 0:
        return code
    mask = keys.size - 1
    slot = np.int64(mix(np.uint64(code)) & np.uint64(mask))
    while keys[slot] != code and keys[slot] >= 0:
        slot = (slot + 1) & mask
    return slot


@leaf_jit
def evaluate(gate, code):  # type: ignore[no-untyped-def]
    """The time of a code; infinite where it fails, is ruled out, or the search has to stop.

    Counts the code the first time in a run. After every call the search looks at `stopped`.
    """
    state = gate.state
    if state[STATUS] != RUNNING:
        return np.inf
    state[LOOKUPS] += 1
    slot = find(gate, code)
    if gate.keys.size and gate.keys[slot] != code:
        if gate.missing[0] == FREE:
            return _idle(gate, np.inf)
        gate.keys[slot] = code
        gate.time[slot] = gate.missing[0]
    time = gate.time[slot]
    if time == FREE:
        return _idle(gate, np.inf)
    shown = time
    if gate.row.size and time < np.inf:
        row = gate.row[slot]
        if row >= 0:
            pick = mix(gate.stream[1] ^ mix(np.uint64(code)))
            shown = np.float64(gate.samples[row, pick % np.uint64(gate.samples.shape[1])])
    if gate.seen[slot] == state[STAMP]:
        return _idle(gate, shown)
    if np.isnan(time):
        state[STATUS] = ASKING
        state[CODE] = code
        return np.inf
    gate.seen[slot] = state[STAMP]
    used = state[USED]
    gate.codes[used] = code
    gate.times[used] = shown
    state[USED] = used + 1
    state[IDLE] = 0
    if shown < gate.best[0]:
        gate.best[0] = shown
        state[BEST] = code
    if time <= gate.best[1]:
        state[STATUS] = OPTIMUM
    elif used + 1 >= gate.limits[BUDGET]:
        state[STATUS] = SPENT
    elif used + 1 >= gate.limits[NUMBER]:
        state[STATUS] = EXHAUSTED
    return shown


@leaf_jit
def _idle(gate, time):  # type: ignore[no-untyped-def]
    """Count a look-up that evaluates nothing; too many in a row end the run."""
    gate.state[IDLE] += 1
    if gate.state[IDLE] > gate.limits[PATIENCE]:
        gate.state[STATUS] = STALLED
    return time


@leaf_jit
def stopped(gate):  # type: ignore[no-untyped-def]
    """Whether the search has to return."""
    return gate.state[STATUS] != RUNNING


@leaf_jit
def is_new(gate, code):  # type: ignore[no-untyped-def]
    """Whether evaluating a code would cost."""
    slot = find(gate, code)
    if gate.keys.size and gate.keys[slot] != code:
        return gate.missing[0] != FREE
    return gate.time[slot] != FREE and gate.seen[slot] != gate.state[STAMP]


@leaf_jit
def is_ruled_out(gate, code):  # type: ignore[no-untyped-def]
    """Whether a code may not be evaluated at all."""
    slot = find(gate, code)
    if gate.keys.size and gate.keys[slot] != code:
        return gate.missing[0] == FREE
    return gate.time[slot] == FREE


@leaf_jit
def slot_of(gate, code):  # type: ignore[no-untyped-def]
    """The slot of a code that was evaluated, for `mark`; -1 where it has none."""
    slot = find(gate, code)
    if gate.keys.size and gate.keys[slot] != code:
        return np.int64(-1)
    return np.int64(slot)


@leaf_jit
def random_code(gate):  # type: ignore[no-untyped-def]
    """A code drawn from all that may be evaluated."""
    if gate.allowed.size:
        return gate.allowed[draw_below(gate.stream, gate.allowed.size)]
    code = np.int64(0)
    for p in range(gate.sizes.size):
        code += draw_below(gate.stream, gate.sizes[p]) * gate.strides[p]
    return code


@leaf_jit
def digit_of(gate, code, parameter):  # type: ignore[no-untyped-def]
    """The position of a parameter's value in its list."""
    return code // gate.strides[parameter] % gate.sizes[parameter]


@leaf_jit
def with_digit(gate, code, parameter, digit):  # type: ignore[no-untyped-def]
    """The code with another value for a parameter."""
    return code + (digit - digit_of(gate, code, parameter)) * gate.strides[parameter]


@leaf_jit
def tell_all(gate, codes, times, rows):  # type: ignore[no-untyped-def]
    """Enter what is known; if `rows`, the k-th code has the k-th row of `samples`."""
    for k in range(codes.size):
        slot = find(gate, codes[k])
        if gate.keys.size:
            gate.keys[slot] = codes[k]
        gate.time[slot] = times[k]
        if rows and gate.row.size:
            gate.row[slot] = k
