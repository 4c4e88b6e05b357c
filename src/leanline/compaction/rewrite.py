"""From a plan to the compact network: a new graph over smaller layers; the model is not used.

Operations that a plan shrinks become layers on fewer channels; operations that are not understood
run as traced, on all their channels, with zeros where a channel is dead.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from leanline.compaction.layers import slice_layer
from leanline.compaction.movement import find_movements
from leanline.compaction.pieces import Reference, Weaver, free_name, zero_value
from leanline.compaction.plan import ELEMENTWISE, CompactPlan, keeps_all
from leanline.graph.nodes import base_name, shape_of
from leanline.graph.program import Operation, Program

Refs = list[Reference | None]


class Rewriter:
    """Emits the operations of a program one by one; one method a family of kinds.

    Args:
        program: the traced network.
        plan: what stays of it.
        trained: names of its tensors that are parameters; others stay buffers.
    """

    def __init__(self, program: Program, plan: CompactPlan, trained: Collection[str]) -> None:
        self.program = program
        self.plan = plan
        self.trained = trained
        self.root = nn.Module()
        self.graph = fx.Graph()
        self.widths: dict[fx.Node, int] = {}
        device = next((t.device for t in program.tensors.values()), None)
        self.weaver = Weaver(self.graph, self.root, self.widths, device)
        self.layers: dict[tuple[object, ...], str] = {}
        self.constants: dict[tuple[object, ...], str] = {}
        self.values: dict[int, Refs] = {}
        self.again: dict[fx.Node, Any] = {}  # traced nodes that are run as they were
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
        if operation.settings.get("cast", False):
            self._rerun(operation)
        elif kind in ("convolution", "linear", "batch_norm"):
            self._layer(operation)
        elif operation.axis != 1 and kind in ("concat", "slice"):
            self._rearrange(operation)
        elif keeps_all(self.program, operation):
            self._rerun(operation)
        elif kind == "concat":
            self.values[operation.index] = [r for i in operation.inputs for r in self.values[i]]
        elif kind == "slice":
            taken = slice(*(operation.settings[key] for key in ("start", "stop", "step")))
            self.values[operation.index] = self.values[operation.inputs[0]][taken]
        elif kind == "identity":
            self._identity(operation)
        elif kind == "add":
            self._add(operation)
        elif kind == "norm":
            self._norm(operation)
        elif kind == "mix":
            self._move(operation)
        elif kind in ELEMENTWISE:
            self._elementwise(operation)
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
        values = self.values[index]
        like = next((reference[0] for reference in values if reference is not None), None)
        if like is None:
            return self._zeros(index, int(chosen.sum()))
        return self.weaver.weave([values[c] for c in np.flatnonzero(chosen)], like)

    def _zeros(self, index: int, channels: int) -> fx.Node:
        """Zeros in place of a value that is zero and depends on nothing."""
        shape = list(self.program.operations[index].shape)
        if len(shape) >= 2:
            shape[1] = channels
        first = self.program.operations[0].shape
        batched = len(shape) >= 2 and shape[:1] == list(first[:1])
        dtype = _dtype(self.program.operations[index])
        node = self.graph.call_function(zero_value, (self.inputs[0], tuple(shape), batched, dtype))
        self.widths[node] = channels
        return node

    def _full(self, index: int) -> fx.Node:
        operation = self.program.operations[index]
        reference = self.values[index][0] if self.values[index] else None
        if len(operation.shape) < 2 and reference is not None:
            return reference[0]
        return self._read(index, np.ones(operation.channels, bool))

    def _identity(self, operation: Operation) -> None:
        source = self.program.operations[operation.inputs[0]]
        if _dtype(source) == _dtype(operation):
            self.values[operation.index] = self.values[source.index]
            return
        live = self.plan.live[operation.index]
        node = self.graph.call_method("to", (self._read(source.index, live), _dtype(operation)))
        self._hold(operation, node, live)

    def _layer(self, operation: Operation) -> None:
        live = self.plan.live[operation.index]
        reads = self.plan.reads.get(operation.index, live)
        if keeps_all(self.program, operation):
            reads = np.ones_like(reads)
        name = self._shared_layer(operation, live, reads)
        node = self.graph.call_module(name, (self._read(operation.inputs[0], reads),))
        self._hold(operation, node, live)

    def _shared_layer(self, operation: Operation, live: np.ndarray, reads: np.ndarray) -> str:
        """The path of the layer: the same one again where the same slices are used again."""
        settings = repr(sorted(operation.settings.items()))
        names = tuple(sorted(operation.parameters.items()))
        key = operation.kind, names, settings, live.tobytes(), reads.tobytes()
        if key not in self.layers:
            self.layers[key] = self._name(operation)
            layer = slice_layer(self.program, operation, live, reads)
            _add_submodule(self.root, self.layers[key], layer)
        return self.layers[key]

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
        alpha, chosen = operation.settings["alpha"], np.flatnonzero(live)
        zero = [all(self.values[i][c] is None for c in chosen) for i in operation.inputs]
        if all(zero):  # one of them, which has the size from the network's input
            zero[0] = not any(self.values[operation.inputs[0]])
            zero[1] = not zero[0]
        terms = []
        for index, factor, absent in zip(operation.inputs, (1.0, alpha), zero, strict=True):
            if absent:
                continue
            term = self._read(index, live)
            if factor != 1.0:
                term = self.graph.call_function(operator.mul, (term, factor))
            terms.append(term)
        node = self.graph.call_function(operator.add, tuple(terms)) if terms[1:] else terms[0]
        self._hold(operation, node, live)

    def _channelwise(self, operation: Operation) -> None:
        """Repeat the traced call on the live channels."""
        live = self.plan.live[operation.index]
        assert operation.node is not None
        assert callable(operation.node.target)
        source = self._read(operation.inputs[0], live)
        if operation.kind == "pad" and operation.name != operation.node.name:
            # a part of another call: the uneven padding of a convolution
            padding, mode = operation.settings["padding"], operation.settings["mode"]
            node = self.graph.call_function(functional.pad, (source, padding, mode))
            self._hold(operation, node, live)
            return
        arguments = [source, *operation.node.args[1:]]
        if "slope" in operation.parameters:
            slope = self.program.tensors[operation.parameters["slope"]]
            if slope.numel() > 1:
                slope = slope[torch.from_numpy(np.flatnonzero(live)).to(slope.device)]
            arguments[1] = self._constant(operation.parameters["slope"], slope, live.tobytes())
        node = self.graph.call_function(
            operation.node.target, tuple(arguments), dict(operation.node.kwargs)
        )
        if not hasattr(operation.node.meta.get("val"), "shape"):  # e.g. (values, indices)
            node = self.graph.call_function(operator.getitem, (node, 0))
        self._hold(operation, node, live)

    def _norm(self, operation: Operation) -> None:
        """Normalisation on whole groups of channels."""
        live = self.plan.live[operation.index]
        settings, source = operation.settings, self._read(operation.inputs[0], live)
        affine = [self._part(operation.parameters.get(role), live) for role in ("weight", "bias")]
        if settings["function"] == "instance_norm":
            given = (source, None, None, *affine, True, 0.1, settings["eps"])
            node = self.graph.call_function(functional.instance_norm, given)
        else:
            groups = int(live.sum()) * int(settings["groups"]) // live.size
            node = self.graph.call_function(
                functional.group_norm, (source, groups, *affine, settings["eps"])
            )
        self._hold(operation, node, live)

    def _part(self, name: str | None, live: np.ndarray) -> fx.Node | None:
        """The live entries of a parameter with one for each channel."""
        if name is None:
            return None
        value = self.program.tensors[name]
        chosen = torch.from_numpy(np.flatnonzero(live)).to(value.device)
        return self._constant(name, value[chosen], live.tobytes())

    def _move(self, operation: Operation) -> None:
        """A movement that is understood, on fewer channels."""
        movement = find_movements(self.program)[operation.index]
        if movement.index is not None:
            values = [reference for index in operation.inputs for reference in self.values[index]]
            self.values[operation.index] = [values[c] for c in movement.index]
            return
        live = self.plan.live[operation.index]
        source, target = operation.settings["pairs"]
        (before,) = operation.inputs
        read = np.zeros(self.program.operations[before].channels, bool)
        read[source[live[target]]] = True
        value = self._read(before, read)
        if movement.kind == "flatten":
            node = self.graph.call_function(torch.flatten, (value, 1))
        elif movement.kind == "unflatten":
            size = (-1, int(live.sum()), *operation.shape[2:])
            node = self.graph.call_function(torch.reshape, (value, size))
        else:
            sizes = self.program.operations[before].shape[2], operation.shape[2]
            name = "pixel_shuffle" if movement.kind == "shuffle" else "pixel_unshuffle"
            call = getattr(functional, name)
            node = self.graph.call_function(call, (value, max(sizes) // min(sizes)))
        self._hold(operation, node, live)

    def _elementwise(self, operation: Operation) -> None:
        """Repeat a call on the live channels of what it reads."""
        live = self.plan.live[operation.index]
        assert operation.node is not None
        read = {
            argument: self._read_alike(index, live)
            for argument, index in zip(
                operation.settings["arguments"], operation.inputs, strict=True
            )
        }
        if read and all(self.widths[node] < live.sum() for node in read.values()):  # of all alike
            read[operation.settings["arguments"][0]] = self._read(operation.inputs[0], live)

        def resolve(node: fx.Node) -> Any:
            return read[node] if node in read else self._constant_part(node, operation, live)

        target, given = _call(operation.node)
        arguments = fx.map_arg(given, resolve)
        named = fx.map_arg(operation.node.kwargs, resolve)
        self._hold(operation, self.graph.call_function(target, arguments, named), live)

    def _read_alike(self, index: int, live: np.ndarray) -> fx.Node:
        """The live channels of a value; one channel, where all are the same one."""
        chosen = [self.values[index][c] for c in np.flatnonzero(live)]
        if chosen and chosen[0] is not None and all(c == chosen[0] for c in chosen):
            return self.weaver.weave(chosen[:1], chosen[0][0])
        return self._read(index, live)

    def _constant_part(self, node: fx.Node, operation: Operation, live: np.ndarray) -> Any:
        """The live channels of a constant that is broadcast to an operation's result."""
        whole, shape = self._resolve(node), shape_of(node)
        axis = len(shape) - len(operation.shape) + 1
        if axis < 0 or axis >= len(shape) or shape[axis] == 1 or live.all():
            return whole
        name = free_name(self.root, "channels")
        device = self.weaver.device
        self.root.register_buffer(name, torch.from_numpy(np.flatnonzero(live)).to(device))
        return self.graph.call_function(
            torch.index_select, (whole, axis, self.graph.get_attr(name))
        )

    def _rearrange(self, operation: Operation) -> None:
        """Join or cut whole values whose channels are not on axis 1."""
        parts = [self._full(index) for index in operation.inputs]
        if operation.kind == "concat":
            node = self.graph.call_function(torch.cat, (parts, operation.axis))
        else:
            bounds = [operation.settings[key] for key in ("start", "stop", "step")]
            node = self.graph.call_function(
                torch.ops.aten.slice.Tensor, (parts[0], operation.axis, *bounds)
            )
        self._hold(operation, node, np.ones(operation.channels, bool))

    def _rerun(self, operation: Operation) -> None:
        """Repeat a traced call that is not made smaller, on full channels."""
        if operation.settings.get("broadcast", False):  # as PyTorch does by itself
            self.values[operation.index] = [None] * operation.channels
            return
        assert operation.node is not None
        node = self._repeat(operation.node)
        assert isinstance(node, fx.Node)
        self._hold(operation, node, np.ones(operation.channels, bool))

    def _resolve(self, node: fx.Node) -> Any:
        """What a traced node computes, as a node of the new graph."""
        place = self.program.places.get(node)
        if isinstance(place, int):
            return self._full(place)
        if node not in self.again:
            self.again[node] = self._repeat(node)
        return self.again[node]

    def _repeat(self, node: fx.Node) -> Any:
        names = self.program.names
        if node.name in names:
            return self._constant(names[node.name], self.program.tensors[names[node.name]])
        if node.op == "placeholder":
            return node.meta.get("val")  # an input that is no tensor
        if node.op == "get_attr":
            value = operator.attrgetter(str(node.target))(self.program.module)
            return self._constant(str(node.target), value)
        target, given = _call(node)
        arguments = fx.map_arg(given, self._resolve)
        return self.graph.call_function(target, arguments, fx.map_arg(node.kwargs, self._resolve))

    def _constant(self, name: str, value: Tensor, part: bytes = b"") -> fx.Node:
        """A tensor of the model, or a part of one, as an attribute of the new one."""
        key = name, part
        if key not in self.constants:
            path = self.constants[key] = free_name(self.root, name.replace(".", "_"))
            if name in self.trained:
                self.root.register_parameter(path, nn.Parameter(value.clone()))
            else:
                self.root.register_buffer(path, value.clone())
        return self.graph.get_attr(self.constants[key])


_RESHAPES = frozenset({"view", "reshape", "_unsafe_view", "expand"})


def _call(node: fx.Node) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """What a node calls, with which arguments.

    Views become reshapes, for a value may lie in memory otherwise than in the model. One that
    keeps the first axis keeps it at any batch.
    """
    assert callable(node.target)
    name, arguments = base_name(node), node.args
    if name not in _RESHAPES or not isinstance(arguments[0], fx.Node):
        return node.target, arguments
    target = node.target if name == "expand" else torch.reshape
    source, shape, size = shape_of(arguments[0]), shape_of(node), arguments[1]
    assert isinstance(size, list | tuple)
    if size and source and shape[:1] == source[:1]:
        size = [-1, *(size[1:] if name == "expand" else shape[1:])]
    return target, (arguments[0], size, *arguments[2:])


def _dtype(operation: Operation) -> torch.dtype:
    value = None if operation.node is None else operation.node.meta.get("val")
    if isinstance(value, list | tuple):
        value = value[0]
    return value.dtype if isinstance(value, Tensor) else torch.float32


def _add_submodule(root: nn.Module, path: str, layer: nn.Module) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        if not hasattr(root, parent):
            root.add_module(parent, nn.Module())
        root = getattr(root, parent)
    root.add_module(last, layer)
