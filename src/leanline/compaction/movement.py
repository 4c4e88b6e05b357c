"""What movements of values do to whole channels, recognised by what they do to positions.

A movement is run on tensors that number every value. If the result is that of a known one, channel
by channel, then the compact network can do the known one on fewer channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, fx
from torch.nn import functional

from leanline.graph.program import Operation, Program

_LARGEST = 1 << 26  # values that are numbered; larger ones keep all their channels


@dataclass(frozen=True, eq=False)
class Movement:
    """A movement that is understood.

    Attributes:
        kind: "map" (channels in other places), "flatten" (every pixel becomes a channel),
            "unflatten" (channels without pixels get axes of one pixel), "shuffle" and "unshuffle"
            (of pixels).
        factor: Channels of the result for each channel that is read: pixels of a flattened picture,
            the squared factor of an unshuffle; 1 for the others.
        index: For a map, the channel among those of all inputs that each channel is.
    """

    kind: str
    factor: int = 1
    index: Int[np.ndarray, "channels"] | None = None


def find_movements(program: Program) -> Mapping[int, Movement]:
    """The movements of a program that are understood, by operation."""
    if program not in _FOUND:
        found = {
            operation.index: movement
            for operation in program.operations
            if operation.kind == "mix" and (movement := _recognise(program, operation)) is not None
        }
        _FOUND[program] = found
    return _FOUND[program]


_FOUND: WeakKeyDictionary[Program, Mapping[int, Movement]] = WeakKeyDictionary()


def _recognise(program: Program, operation: Operation) -> Movement | None:
    inputs = [program.operations[index] for index in operation.inputs]
    if operation.axis != 1 or len(operation.shape) < 2:
        return None
    if any(source.axis != 1 or len(source.shape) < 2 for source in inputs):
        return None
    source, target = operation.settings["pairs"]
    if operation.settings["broadcast"]:  # one channel that stands for many
        (first,) = inputs if len(inputs) == 1 else (None,)
        alike = first is not None and first.channels == 1
        if first is None or not alike or len(first.shape) != len(operation.shape):
            return None
        return Movement("map", index=np.zeros(operation.channels, dtype=np.int64))
    if sum(np.prod(value.shape, dtype=np.int64) for value in (*inputs, operation)) > _LARGEST:
        return None
    numbered, start = {}, 0
    for value in inputs:
        count = int(np.prod(value.shape, dtype=np.int64))
        numbered[value.index] = torch.arange(start, start + count).reshape(value.shape)
        start += count
    assert operation.node is not None
    try:
        result = _evaluate(program, operation.node, numbered)
    except (RuntimeError, TypeError, ValueError, KeyError):
        return None
    # a subclass: made of a tensor of the tracer's, which has no numbers
    if type(result) is not Tensor or tuple(result.shape) != operation.shape:
        return None
    single = np.array_equal(target, np.arange(operation.channels))
    sizes = {value.shape[2:] for value in inputs}
    if single and sizes == {operation.shape[2:]}:
        whole = torch.cat(list(numbered.values()), 1)
        if torch.equal(whole[:, torch.from_numpy(source)], result):
            return Movement("map", index=np.asarray(source, dtype=np.int64))
    return _known(next(iter(numbered.values())), result) if len(inputs) == 1 else None


def _known(before: Tensor, after: Tensor) -> Movement | None:
    """One of the named movements of a single picture."""
    if after.ndim == 2 and torch.equal(before.flatten(1), after):
        return Movement("flatten", before[0, 0].numel())
    if before.ndim == 2 and torch.equal(before.reshape(after.shape), after):
        return Movement("unflatten") if after.shape[:2] == before.shape else None
    if before.ndim == after.ndim == 4 and before.shape[2] and after.shape[2]:
        up, down = after.shape[2] // before.shape[2], before.shape[2] // after.shape[2]
        whole = before.shape[1] % (up * up) == 0 if up > 1 else False
        if whole and _equal(functional.pixel_shuffle(before, up), after):
            return Movement("shuffle")
        whole = not any(size % down for size in before.shape[2:]) if down > 1 else False
        if whole and _equal(functional.pixel_unshuffle(before, down), after):
            return Movement("unshuffle", down * down)
    return None


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other)


def _evaluate(program: Program, node: fx.Node, known: Mapping[int, Tensor]) -> Any:
    place = program.places.get(node)
    if isinstance(place, int) and place in known:
        return known[place]
    if node.op == "placeholder":
        name = program.names.get(node.name)
        return node.meta["val"] if name is None else program.tensors[name]
    if node.op == "get_attr":
        return getattr(program.module, str(node.target))
    assert callable(node.target)
    target: Any = node.target
    if target in (torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default):
        target = torch.ops.aten.reshape.default
    arguments = fx.map_arg(node.args, lambda other: _evaluate(program, other, known))
    named = fx.map_arg(node.kwargs, lambda other: _evaluate(program, other, known))
    return target(*arguments, **named)
