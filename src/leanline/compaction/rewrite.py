"""From a plan to the compact network: a new graph over smaller layers. The user's model is not used.

Operations that a plan shrinks become layers on fewer channels; operations that are not understood
run as traced, on all their channels, with zeros where a channel is dead.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from torch import fx, nn

from leanline.compaction.layers import slice_layer
from leanline.compaction.pieces import Reference, Weaver
from leanline.compaction.plan import CompactPlan, keeps_all
from leanline.graph.program import Operation, Program

Refs = list[Reference | None]


class Rewriter:
    """Emits the operations of a program one by one; one method a family of kinds."""

    def __init__(self, program: Program, plan: CompactPlan) -> None:
        self.program = program
        self.plan = plan
        self.root = nn.Module()
        self.graph = fx.Graph()
        self.widths: dict[fx.Node, int] = {}
        self.weaver = Weaver(self.graph, self.root, self.widths)
        self.values: dict[int, Refs] = {}
        self.inputs: list[fx.Node] = []

    def run(self) -> fx.GraphModule:
        """Build the module."""
        outputs = []
        for operation in self.program.operations:
            if operation.kind == "input":
                node = self.graph.placeholder(operation.name)
                self.inputs.append(node)
                self._hold(operation, node, np.ones(operation.channels, bool))
            elif operation.kind == "output":
                outputs.append(self._full(operation.inputs[0]))
            elif self.plan.live[operation.index].any():
                self._emit(operation)
            else:
                self.values[operation.index] = [None] * operation.channels
        self.graph.output(outputs[0] if len(outputs) == 1 else tuple(outputs))
        self.graph.lint()
        return fx.GraphModule(self.root, self.graph, class_name="Compact")

    def _emit(self, operation: Operation) -> None:
        kind = operation.kind
        if kind in ("convolution", "linear", "batch_norm"):
            self._layer(operation)
        elif kind == "opaque":
            self._rerun(operation)
        elif kind == "concat":
            self.values[operation.index] = [r for i in operation.inputs for r in self.values[i]]
        elif kind == "slice":
            taken = slice(*(operation.settings[key] for key in ("start", "stop", "step")))
            self.values[operation.index] = self.values[operation.inputs[0]][taken]
        elif kind == "identity":
            self.values[operation.index] = self.values[operation.inputs[0]]
        elif kind == "add":
            self._add(operation)
        else:
            self._channelwise(operation)

    def _hold(self, operation: Operation, node: fx.Node, live: np.ndarray) -> None:
        """Note that ``node`` computes the live channels of an operation, in order."""
        self.widths[node] = int(live.sum())
        place = np.cumsum(live) - 1
        self.values[operation.index] = [
            (node, int(place[c])) if live[c] else None for c in range(live.size)
        ]

    def _read(self, index: int, chosen: np.ndarray) -> fx.Node:
        """A node that holds the chosen channels of an operation's result."""
        refs = [self.values[index][c] for c in np.flatnonzero(chosen)]
        return self.weaver.weave(refs, self.inputs[0], self.program.operations[index].size)

    def _full(self, index: int) -> fx.Node:
        operation = self.program.operations[index]
        if len(operation.shape) < 2:
            reference = self.values[index][0]
            assert reference is not None
            return reference[0]
        return self._read(index, np.ones(operation.channels, bool))

    def _layer(self, operation: Operation) -> None:
        live = self.plan.live[operation.index]
        reads = self.plan.reads.get(operation.index, live)
        if keeps_all(self.program, operation):
            reads = np.ones_like(reads)
        name = self._name(operation)
        layer = slice_layer(self.program, operation, live, reads)
        _add_submodule(self.root, name, layer)
        node = self.graph.call_module(name, (self._read(operation.inputs[0], reads),))
        self._hold(operation, node, live)

    def _name(self, operation: Operation) -> str:
        """The path of the parameter's module, with a suffix where it is used again."""
        base = operation.parameters.get("weight", operation.parameters.get("running_mean", ""))
        path = base.rpartition(".")[0] or operation.name
        taken = {name for name, _ in self.root.named_modules()}
        name, count = path, 1
        while name in taken:
            count += 1
            name = f"{path}_{count}"
        return name

    def _add(self, operation: Operation) -> None:
        live = self.plan.live[operation.index]
        left, right = (self._read(i, live) for i in operation.inputs)
        alpha = operation.settings["alpha"]
        if alpha == 1.0:
            node = self.graph.call_function(operator.add, (left, right))
        else:
            scaled = self.graph.call_function(operator.mul, (right, alpha))
            node = self.graph.call_function(operator.add, (left, scaled))
        self._hold(operation, node, live)

    def _channelwise(self, operation: Operation) -> None:
        """Repeat the traced call on the live channels."""
        live = self.plan.live[operation.index]
        assert operation.node is not None
        arguments = list(operation.node.args)
        arguments[0] = self._read(operation.inputs[0], live)
        if "slope" in operation.parameters:
            slope = self.program.tensors[operation.parameters["slope"]]
            if slope.numel() > 1:
                slope = slope[np.flatnonzero(live)]
            arguments[1] = self._constant(operation.parameters["slope"], slope)
        node = self.graph.call_function(
            operation.node.target, tuple(arguments), dict(operation.node.kwargs)
        )
        if not hasattr(operation.node.meta.get("val"), "shape"):  # e.g. (values, indices)
            node = self.graph.call_function(operator.getitem, (node, 0))
        self._hold(operation, node, live)

    def _rerun(self, operation: Operation) -> None:
        """Repeat a traced call that is not understood, on full channels."""
        assert operation.node is not None
        names = operation.parameters

        def resolve(node: fx.Node) -> fx.Node:
            if node.name in names:
                return self._constant(names[node.name], self.program.tensors[names[node.name]])
            place = self.program.places[node]
            assert isinstance(place, int)
            return self._full(place)

        arguments = fx.map_arg(operation.node.args, resolve)
        named = fx.map_arg(operation.node.kwargs, resolve)
        node = self.graph.call_function(operation.node.target, arguments, named)
        self._hold(operation, node, np.ones(operation.channels, bool))

    def _constant(self, name: str, value: Any) -> fx.Node:
        path = name.replace(".", "_")
        if not hasattr(self.root, path):
            self.root.register_parameter(
                path, nn.Parameter(value.clone(), value.is_floating_point())
            )
        return self.graph.get_attr(path)


def _add_submodule(root: nn.Module, path: str, layer: nn.Module) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        if not hasattr(root, parent):
            root.add_module(parent, nn.Module())
        root = getattr(root, parent)
    root.add_module(last, layer)
