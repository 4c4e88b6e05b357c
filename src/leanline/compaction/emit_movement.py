"""What puts channels elsewhere: concatenations, slices, shuffles and reshapes."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from leanline.compaction.draft import Draft
from leanline.compaction.movement import find_movements
from leanline.graph.program import Operation


def emit_concat(draft: Draft, operation: Operation) -> None:
    """Channels side by side: nothing is computed before somebody reads them."""
    draft.values[operation.index] = [r for i in operation.inputs for r in draft.values[i]]


def emit_slice(draft: Draft, operation: Operation) -> None:
    """Some channels: nothing is computed before somebody reads them."""
    taken = slice(*(operation.settings[key] for key in ("start", "stop", "step")))
    draft.values[operation.index] = draft.values[operation.inputs[0]][taken]


def emit_rearrangement(draft: Draft, operation: Operation) -> None:
    """Join or cut whole values whose channels are not on axis 1."""
    parts = [draft.full(index) for index in operation.inputs]
    if operation.kind == "concat":
        node = draft.graph.call_function(torch.cat, (parts, operation.axis))
    else:
        bounds = [operation.settings[key] for key in ("start", "stop", "step")]
        node = draft.graph.call_function(
            torch.ops.aten.slice.Tensor, (parts[0], operation.axis, *bounds)
        )
    draft.hold_all(operation, node)


def emit_movement(draft: Draft, operation: Operation) -> None:
    """A movement that is understood, on fewer channels."""
    movement = find_movements(draft.program)[operation.index]
    if movement.index is not None:
        values = [reference for index in operation.inputs for reference in draft.values[index]]
        draft.values[operation.index] = [values[c] for c in movement.index]
        return
    live = draft.plan.live[operation.index]
    source, target = operation.settings["pairs"]
    (before,) = operation.inputs
    read = np.zeros(draft.program.operations[before].channels, bool)
    read[source[live[target]]] = True
    value = draft.read(before, read)
    if movement.kind == "flatten":
        node = draft.graph.call_function(torch.flatten, (value, 1))
    elif movement.kind == "unflatten":
        size = (-1, int(live.sum()), *operation.shape[2:])
        node = draft.graph.call_function(torch.reshape, (value, size))
    else:
        sizes = draft.program.operations[before].shape[2], operation.shape[2]
        name = "pixel_shuffle" if movement.kind == "shuffle" else "pixel_unshuffle"
        call = getattr(functional, name)
        node = draft.graph.call_function(call, (value, max(sizes) // min(sizes)))
    draft.hold(operation, node, live)
