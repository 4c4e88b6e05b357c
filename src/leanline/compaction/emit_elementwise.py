"""What is done to each channel by itself, or to the same channel of several values."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import torch
from torch import fx
from torch.nn import functional

from leanline.compaction.draft import Draft, call_of, dtype_of
from leanline.compaction.pieces import free_name
from leanline.compaction.shrinking import Channels
from leanline.graph.nodes import shape_of
from leanline.graph.program import Operation


def emit_identity(draft: Draft, operation: Operation) -> None:
    """The same values, perhaps of another type."""
    source = draft.program.operations[operation.inputs[0]]
    if dtype_of(source) == dtype_of(operation):
        draft.values[operation.index] = draft.values[source.index]
        return
    live = draft.plan.live[operation.index]
    given = draft.read(source.index, live), dtype_of(operation)
    draft.hold(operation, draft.graph.call_method("to", given), live)


def emit_add(draft: Draft, operation: Operation) -> None:
    """A sum; a term that is zero on all live channels is left out."""
    live = draft.plan.live[operation.index]
    alpha, chosen = operation.settings["alpha"], np.flatnonzero(live)
    zero = [all(draft.values[i][c] is None for c in chosen) for i in operation.inputs]
    if all(zero):  # one of them, which has the size from the network's input
        zero[0] = not any(draft.values[operation.inputs[0]])
        zero[1] = not zero[0]
    terms = []
    for index, factor, absent in zip(operation.inputs, (1.0, alpha), zero, strict=True):
        if absent:
            continue
        term = draft.read(index, live)
        if factor != 1.0:
            term = draft.graph.call_function(operator.mul, (term, factor))
        terms.append(term)
    node = draft.graph.call_function(operator.add, tuple(terms)) if terms[1:] else terms[0]
    draft.hold(operation, node, live)


def emit_channelwise(draft: Draft, operation: Operation) -> None:
    """Repeat the traced call on the live channels of its one input."""
    live = draft.plan.live[operation.index]
    assert operation.node is not None
    assert callable(operation.node.target)
    source = draft.read(operation.inputs[0], live)
    if operation.kind == "pad" and operation.name != operation.node.name:
        # a part of another call: the uneven padding of a convolution
        padding, mode = operation.settings["padding"], operation.settings["mode"]
        node = draft.graph.call_function(functional.pad, (source, padding, mode))
        draft.hold(operation, node, live)
        return
    arguments = [source, *operation.node.args[1:]]
    if "slope" in operation.parameters:
        slope = draft.program.tensors[operation.parameters["slope"]]
        if slope.numel() > 1:
            slope = slope[torch.from_numpy(np.flatnonzero(live)).to(slope.device)]
        arguments[1] = draft.constant(operation.parameters["slope"], slope, live.tobytes())
    node = draft.graph.call_function(
        operation.node.target, tuple(arguments), dict(operation.node.kwargs)
    )
    if not hasattr(operation.node.meta.get("val"), "shape"):  # e.g. (values, indices)
        node = draft.graph.call_function(operator.getitem, (node, 0))
    draft.hold(operation, node, live)


def emit_elementwise(draft: Draft, operation: Operation) -> None:
    """Repeat the traced call on the live channels of all that it reads."""
    live = draft.plan.live[operation.index]
    assert operation.node is not None
    read = {
        argument: _read_alike(draft, index, live)
        for argument, index in zip(operation.settings["arguments"], operation.inputs, strict=True)
    }
    if read and all(draft.widths[node] < live.sum() for node in read.values()):  # of all alike
        read[operation.settings["arguments"][0]] = draft.read(operation.inputs[0], live)

    def resolve(node: fx.Node) -> Any:
        return read[node] if node in read else _constant_part(draft, node, operation, live)

    target, given = call_of(operation.node)
    arguments = fx.map_arg(given, resolve)
    named = fx.map_arg(operation.node.kwargs, resolve)
    draft.hold(operation, draft.graph.call_function(target, arguments, named), live)


def _read_alike(draft: Draft, index: int, live: Channels) -> fx.Node:
    """The live channels of a value; one channel, where all are the same one."""
    chosen = [draft.values[index][c] for c in np.flatnonzero(live)]
    if chosen and chosen[0] is not None and all(c == chosen[0] for c in chosen):
        return draft.weaver.weave(chosen[:1], chosen[0][0])
    return draft.read(index, live)


def _constant_part(draft: Draft, node: fx.Node, operation: Operation, live: Channels) -> Any:
    """The live channels of a constant that is broadcast to an operation's result."""
    whole, shape = draft.resolve(node), shape_of(node)
    axis = len(shape) - len(operation.shape) + 1
    if axis < 0 or axis >= len(shape) or shape[axis] == 1 or live.all():
        return whole
    name = free_name(draft.root, "channels")
    chosen = torch.from_numpy(np.flatnonzero(live)).to(draft.weaver.device)
    draft.root.register_buffer(name, chosen)
    index = draft.graph.get_attr(name)
    return draft.graph.call_function(torch.index_select, (whole, axis, index))
