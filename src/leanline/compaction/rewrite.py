"""From a plan to the compact network: a new graph over smaller layers; the model is not used.

Operations that a plan shrinks become layers on fewer channels; operations that are not understood
run as traced, on all their channels, with zeros where a channel is dead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import fx

from leanline.compaction.draft import Draft
from leanline.compaction.emit_elementwise import (
    emit_add,
    emit_channelwise,
    emit_elementwise,
    emit_identity,
)
from leanline.compaction.emit_layers import LayerEmitter, emit_norm
from leanline.compaction.emit_movement import (
    emit_concat,
    emit_movement,
    emit_rearrangement,
    emit_slice,
)
from leanline.compaction.plan import CompactPlan
from leanline.compaction.shrinking import ELEMENTWISE, keeps_all
from leanline.compaction.structure import emit_inputs, emit_outputs
from leanline.graph.program import Operation, Program

_EMITTERS = {
    "concat": emit_concat,
    "slice": emit_slice,
    "identity": emit_identity,
    "add": emit_add,
    "norm": emit_norm,
    "mix": emit_movement,
    **dict.fromkeys(ELEMENTWISE, emit_elementwise),
}


class Rewriter:
    """Emits the operations of a program one by one.

    Args:
        program: the traced network.
        plan: what stays of it.
        trained: names of its tensors that are parameters, and whether they are trained; others
            stay buffers.
    """

    def __init__(self, program: Program, plan: CompactPlan, trained: Mapping[str, bool]) -> None:
        self.draft = Draft(program, plan, trained)
        self._layers = LayerEmitter(self.draft)

    def run(self, arguments: tuple[Any, ...], example: object) -> fx.GraphModule:
        """Build the module.

        Args:
            arguments: what the network was traced with.
            example: what it returned.
        """
        draft, outputs = self.draft, []
        emit_inputs(draft, arguments)
        for operation in draft.program.operations:
            if operation.kind == "output":
                outputs.append(draft.full(operation.inputs[0]))
            elif operation.kind == "input":
                continue
            elif draft.plan.live[operation.index].any():
                self._emit(operation)
            else:
                draft.values[operation.index] = [None] * operation.channels
        emit_outputs(draft, outputs, example)
        draft.graph.lint()
        return fx.GraphModule(draft.root, draft.graph, class_name="Compact")

    def _emit(self, operation: Operation) -> None:
        draft, kind = self.draft, operation.kind
        if operation.settings.get("cast", False):
            self._rerun(operation)
        elif kind in ("convolution", "linear", "batch_norm"):
            self._layers.layer(operation)
        elif operation.axis != 1 and kind in ("concat", "slice"):
            emit_rearrangement(draft, operation)
        elif keeps_all(draft.program, operation):
            self._rerun(operation)
        else:
            _EMITTERS.get(kind, emit_channelwise)(draft, operation)

    def _rerun(self, operation: Operation) -> None:
        """Repeat a traced call that is not made smaller, on full channels."""
        if operation.settings.get("broadcast", False):  # as PyTorch does by itself
            self.draft.values[operation.index] = [None] * operation.channels
            return
        assert operation.node is not None
        node = self.draft.repeat(operation.node)
        assert isinstance(node, fx.Node)
        self.draft.hold_all(operation, node)
