"""Which channels are on a kept path from an input to an output.

Section 4.4.2 removes channels without input and channels that a batch norm finds constant; here
also channels that no output reads go.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from leanline.graph.filters import by_group, from_group
from leanline.graph.program import Operation, Program

# Section 4.4.2: a smaller running variance means that the channel is constant.
DEAD_VARIANCE = 1e-40

_CHANNELWISE = frozenset({"unary", "gain", "pool", "resample", "pad", "identity", "output"})
_ALWAYS = frozenset({"input", "constant", "shift", "opaque"})


@dataclass(frozen=True, eq=False)
class Liveness:
    """What is alive in a program.

    Attributes:
        channels: For each operation, a boolean for each channel of its result: True where a kept
            path leads to it from an input, and on to an output.
        fed: True where the channel may be other than zero after cleaning: it depends on an input,
            or holds a constant that cleaning leaves alone (sigmoid of a dead channel, a bias that
            may not be masked).
        rooted: True where a kept path leads to it from an input.
        filters: For each convolution or linear weight by name, live filters in the layout of
            weight.shape[:2]: kept, from a fed channel, to a live one.
    """

    channels: tuple[Bool[np.ndarray, "_"], ...]
    fed: tuple[Bool[np.ndarray, "_"], ...]
    rooted: tuple[Bool[np.ndarray, "_"], ...]
    filters: Mapping[str, Bool[np.ndarray, "_ _"]]


def find_untouched(program: Program) -> frozenset[str]:
    """Weights of convolutions that pruning left alone: those without a mask beside ones with."""
    if not program.kept:
        return frozenset()
    return frozenset(
        operation.parameters["weight"]
        for operation in program.operations
        if operation.kind == "convolution" and operation.parameters["weight"] not in program.kept
    )


def find_live(
    program: Program,
    kept: Mapping[str, Bool[np.ndarray, "_ _"]] | None = None,
    untouched: Collection[str] | None = None,
) -> Liveness:
    """Find the live channels and filters of a program.

    Args:
        program: The traced network.
        kept: Filters that are kept, by weight name in the layout of weight.shape[:2]; a weight that
            is missing keeps all. Default: the masks found on the model.
        untouched: Weights whose bias cleaning must not zero, so that their outputs count as fed.
            Default: `find_untouched`.
    """
    masks = _masks(program) if kept is None else kept
    frozen = _always_fed(program, find_untouched(program) if untouched is None else untouched)
    fed: list[np.ndarray] = []
    rooted: list[np.ndarray] = []
    for operation in program.operations:
        inputs = [fed[i] for i in operation.inputs]
        always = operation.kind in _ALWAYS or operation.index in frozen
        fed.append(
            np.ones(operation.channels, dtype=bool)
            if always
            else _feed(program, operation, inputs, masks)
        )
        rooted.append(_root(program, operation, [rooted[i] for i in operation.inputs], masks))
        rooted[-1] &= fed[-1]
    reach = [np.zeros(operation.channels, dtype=bool) for operation in program.operations]
    for operation in reversed(program.operations):
        _reach(program, operation, reach, fed, masks)
    channels = tuple(f & r for f, r in zip(rooted, reach, strict=True))
    filters: dict[str, np.ndarray] = {}
    for operation in program.operations:
        if operation.kind in ("convolution", "linear"):
            name = operation.parameters["weight"]
            alive = _alive_filters(program, operation, rooted, channels, masks)
            filters[name] = filters[name] | alive if name in filters else alive
    return Liveness(channels, tuple(fed), tuple(rooted), filters)


def dead_by_variance(program: Program, operation: Operation) -> Bool[np.ndarray, "channels"]:
    """Channels that a batch norm finds constant; without weight and bias it says nothing."""
    if "weight" not in operation.parameters and "bias" not in operation.parameters:
        return np.zeros(operation.channels, dtype=bool)
    variance = program.tensors[operation.parameters["running_var"]]
    return (variance < DEAD_VARIANCE).cpu().numpy()


def _masks(program: Program) -> dict[str, np.ndarray]:
    return {name: mask.cpu().numpy() for name, mask in program.kept.items()}


def _always_fed(program: Program, untouched: Collection[str]) -> frozenset[int]:
    """Operations that may put out constants which cleaning does not zero."""
    shared = {name for name, steps in program.uses.items() if len(steps) > 1} | program.fixed
    untouched, found = frozenset(untouched), set()
    for operation in program.operations:
        own, kind = operation.parameters, operation.kind
        if kind == "batch_norm":
            constant = not shared.isdisjoint(own.values())
        elif kind == "norm":
            constant = operation.settings["shifted"] or not shared.isdisjoint(own.values())
        elif kind == "convolution" and "bias" in own:
            constant = own["weight"] in untouched or own["bias"] in shared
        else:
            constant = kind == "linear" and "bias" in own
        if constant:
            found.add(operation.index)
    return frozenset(found)


def _grouped_mask(
    program: Program, operation: Operation, masks: Mapping[str, np.ndarray]
) -> Bool[np.ndarray, "groups outputs inputs"]:
    name = operation.parameters["weight"]
    mask = masks.get(name)
    if mask is None:
        mask = np.broadcast_to(np.True_, tuple(program.tensors[name].shape[:2]))
    return by_group(operation, mask)


def _feed(
    program: Program,
    operation: Operation,
    inputs: list[np.ndarray],
    masks: Mapping[str, np.ndarray],
) -> Bool[np.ndarray, "channels"]:
    """Channels that are other than zero, if those of the inputs are."""
    kind, count = operation.kind, operation.channels
    if not inputs:
        return np.zeros(count, dtype=bool)
    if kind in ("convolution", "linear"):
        mask = _grouped_mask(program, operation, masks)
        given = inputs[0].reshape(mask.shape[0], 1, mask.shape[2])
        return np.asarray((mask & given).any(2).reshape(count))
    if kind == "batch_norm":
        return np.asarray(inputs[0] & ~dead_by_variance(program, operation))
    if kind in ("add", "join"):
        return np.asarray(np.logical_or.reduce(inputs))
    if kind == "multiply":
        return np.asarray(np.logical_and.reduce(inputs))
    if kind == "divide":  # by zero it is anything
        return np.asarray(inputs[0] | ~inputs[1])
    if kind == "norm":
        return _by_group(operation, inputs[0])
    if kind == "concat":
        return np.concatenate(inputs)
    if kind == "slice":
        return inputs[0][_selection(operation)]
    if kind == "mix":
        source, target = operation.settings["pairs"]
        mixed = np.zeros(count, dtype=bool)
        mixed[target[np.concatenate(inputs)[source]]] = True
        return mixed
    assert kind in _CHANNELWISE, kind
    return inputs[0]


def _root(
    program: Program,
    operation: Operation,
    inputs: list[np.ndarray],
    masks: Mapping[str, np.ndarray],
) -> Bool[np.ndarray, "channels"]:
    """Channels that depend on an input of the network, if those of the operation's inputs do."""
    kind, count = operation.kind, operation.channels
    if kind == "input":
        return np.ones(count, dtype=bool)
    if kind == "opaque":
        return np.full(count, any(bool(part.any()) for part in inputs))
    if kind in ("multiply", "divide"):
        return np.asarray(np.logical_or.reduce(inputs))
    if kind == "shift":
        return inputs[0].copy()
    return _feed(program, operation, inputs, masks).copy()


def _reach(
    program: Program,
    operation: Operation,
    reach: list[np.ndarray],
    fed: list[np.ndarray],
    masks: Mapping[str, np.ndarray],
) -> None:
    own, kind = reach[operation.index], operation.kind
    if kind == "output":
        own[:] = True
    own &= fed[operation.index]  # what makes a zero, such as the gate of nothing, is not needed
    if kind in ("convolution", "linear"):
        mask = _grouped_mask(program, operation, masks)
        wanted = (mask & own.reshape(mask.shape[0], mask.shape[1], 1)).any(1)
        reach[operation.inputs[0]] |= wanted.reshape(-1)
    elif kind == "batch_norm":
        reach[operation.inputs[0]] |= own & ~dead_by_variance(program, operation)
    elif kind == "norm":
        reach[operation.inputs[0]] |= _by_group(operation, own)
    elif kind == "concat":
        _reach_parts(operation, own, reach)
    elif kind == "mix":
        source, target = operation.settings["pairs"]
        wanted = np.zeros(sum(reach[i].size for i in operation.inputs), dtype=bool)
        wanted[source[own[target]]] = True
        _reach_parts(operation, wanted, reach)
    elif kind == "slice":
        reach[operation.inputs[0]][_selection(operation)] |= own
    elif kind == "opaque":
        for source in operation.inputs:
            reach[source] |= own.any()
    else:
        for source in operation.inputs:
            reach[source] |= own


def _alive_filters(
    program: Program,
    operation: Operation,
    rooted: list[np.ndarray],
    channels: tuple[np.ndarray, ...],
    masks: Mapping[str, np.ndarray],
) -> Bool[np.ndarray, "_ _"]:
    mask = _grouped_mask(program, operation, masks)
    given = rooted[operation.inputs[0]].reshape(mask.shape[0], 1, mask.shape[2])
    wanted = channels[operation.index].reshape(mask.shape[0], mask.shape[1], 1)
    return from_group(operation, mask & given & wanted)


def _reach_parts(
    operation: Operation, wanted: Bool[np.ndarray, "_"], reach: list[np.ndarray]
) -> None:
    """Pass on what is wanted of the channels of all inputs together."""
    start = 0
    for source in operation.inputs:
        stop = start + reach[source].size
        reach[source] |= wanted[start:stop]
        start = stop


def _by_group(operation: Operation, flags: Bool[np.ndarray, "_"]) -> Bool[np.ndarray, "_"]:
    """True for all channels of a group that has one."""
    groups = flags.reshape(int(operation.settings["groups"]), -1)
    return np.repeat(groups.any(1), groups.shape[1])


def _selection(operation: Operation) -> slice:
    settings = operation.settings
    return slice(settings["start"], settings["stop"], settings["step"])
