"""Compiled particle swarm: particles fly through the box of positions and are rounded to codes."""

from __future__ import annotations

import numpy as np

from leanline.tuning.compiled.gate import begin, end, evaluate, is_ruled_out, random_code, stopped
from leanline.tuning.compiled.jit import leaf_jit, search_jit
from leanline.tuning.compiled.random import draw


@leaf_jit
def code_at(gate, position, unit):  # type: ignore[no-untyped-def]
    """The code of the cell that a position is in; a digit's cell is `unit` wide."""
    code = np.int64(0)
    for p in range(gate.sizes.size):
        digit = np.int64(np.floor(position[p] / unit))
        code += min(max(digit, 0), gate.sizes[p] - 1) * gate.strides[p]
    return code


@search_jit
def particle_swarm(gate, seeds, settings):  # type: ignore[no-untyped-def]
    """Particles are drawn to their own best and to the best of the nearest particles.

    Settings: particles, how many nearest (itself included), scale of the box, inertia, pull of the
    own best, pull of the others' best, iterations.
    """
    count, near, scale = int(settings[0]), int(settings[1]), settings[2]
    inertia, own_pull, other_pull, iterations = settings[3], settings[4], settings[5], settings[6]
    near = min(near, count)
    parameters = gate.sizes.size
    unit = scale / gate.sizes.max()
    position, velocity = np.empty((count, parameters)), np.empty((count, parameters))
    own, own_time = np.empty((count, parameters)), np.empty(count)
    apart, leader = np.empty(near), np.empty(count, dtype=np.int64)
    for run in range(seeds.size):
        begin(gate, seeds[run])
        _scatter(gate, position, velocity, unit)
        own_time[:] = np.inf
        own[:] = position
        iteration = 0
        while iteration < iterations and not stopped(gate):
            iteration += 1
            _look(gate, position, own, own_time, unit)
            for k in range(count):
                leader[k] = _leader(position, own_time, k, apart)
            _fly(gate, position, velocity, own, leader, unit, inertia, own_pull, other_pull)
        end(gate, run)


@leaf_jit
def _look(gate, position, own, own_time, unit):  # type: ignore[no-untyped-def]
    """Evaluate all particles and keep the best place of each."""
    for k in range(position.shape[0]):
        time = evaluate(gate, code_at(gate, position[k], unit))
        if time < own_time[k]:
            own_time[k] = time
            for p in range(position.shape[1]):
                own[k, p] = position[k, p]


@leaf_jit
def _fly(gate, position, velocity, own, leader, unit, inertia, own_pull, other_pull):  # type: ignore[no-untyped-def]
    """Move all particles."""
    for k in range(position.shape[0]):
        for p in range(position.shape[1]):
            here = position[k, p]
            velocity[k, p] = (
                inertia * velocity[k, p]
                + own_pull * draw(gate.stream) * (own[k, p] - here)
                + other_pull * draw(gate.stream) * (own[leader[k], p] - here)
            )
            position[k, p] = _wrapped(here + velocity[k, p], gate.sizes[p] * unit)


@leaf_jit
def _scatter(gate, position, velocity, unit):  # type: ignore[no-untyped-def]
    """Random positions, and random velocities of up to one digit an iteration."""
    for k in range(position.shape[0]):
        for p in range(position.shape[1]):
            position[k, p] = draw(gate.stream) * gate.sizes[p] * unit
            velocity[k, p] = draw(gate.stream)
        if gate.allowed.size and is_ruled_out(gate, code_at(gate, position[k], unit)):
            code = random_code(gate)
            for p in range(position.shape[1]):
                position[k, p] = (code // gate.strides[p] % gate.sizes[p] + 0.5) * unit


@leaf_jit
def _leader(position, own_time, particle, apart):  # type: ignore[no-untyped-def]
    """Who has the best own time among the nearest particles, by the sum of the differences.

    As many are looked at as `apart` has places.
    """
    filled = 0
    for other in range(position.shape[0]):
        total = _between(position, particle, other)
        if filled < apart.size:
            at = filled
            filled += 1
        elif total < apart[filled - 1]:
            at = filled - 1
        else:
            continue
        while at > 0 and apart[at - 1] > total:
            apart[at] = apart[at - 1]
            at -= 1
        apart[at] = total
    best = particle
    for other in range(position.shape[0]):
        near = _between(position, particle, other) <= apart[filled - 1]
        if near and own_time[other] < own_time[best]:
            best = other
    return best


@leaf_jit
def _between(position, one, two):  # type: ignore[no-untyped-def]
    total = 0.0
    for p in range(position.shape[1]):
        total += abs(position[one, p] - position[two, p])
    return total


@leaf_jit
def _wrapped(value, width):  # type: ignore[no-untyped-def]
    """What leaves the box on one side comes in on the other."""
    return value - np.floor(value / width) * width
