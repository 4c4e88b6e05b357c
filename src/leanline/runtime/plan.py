"""From a traced network to a program for the plane kernels: a pure plan, made before anything runs.

The planner follows channels through the network symbolically. Concatenations and slices cost
nothing, pruned filters are no edges, and channels that are zero or that no output needs get no
plane. A network that the plane kernels cannot run is named with its first unsuited operation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from leanline.errors import ModelError
from leanline.graph.program import Operation, Program
from leanline.kernels.program import PlaneProgram
from leanline.runtime.present import Present

Planes = tuple[int, ...]
ZERO = -1
"""The plane id of a channel that is zero everywhere."""


@dataclass(frozen=True, eq=False)
class PlanePlan:
    """A plane program and where its numbers come from.

    Attributes:
        program: what the kernels execute.
        weights: names of all 3x3 convolutions' weight parameters, in the order of `taps`.
        taps: index of each edge's filter in the concatenation of `weights`, each flattened to
            (out * in, kernel).
        biases: names of their bias parameters, in the order of `bias`.
        bias: index of each segment's bias in the concatenation of `biases`; one past the end
            stands for "no bias".
        head: weight parameter of the final 1x1 layer, if there is one.
        head_bias: its bias parameter, if it has one.
        head_channels: input channels of the final layer that are read.
    """

    program: PlaneProgram
    weights: tuple[str, ...]
    taps: np.ndarray
    biases: tuple[str, ...]
    bias: np.ndarray
    head: str | None
    head_bias: str | None
    head_channels: np.ndarray


@dataclass
class _Value:
    """What the planner knows of one operation's result."""

    planes: Planes
    pad: tuple[str, int] | None = None  # a padding that the next convolution absorbs


@dataclass
class _Segment:
    plane: int
    dilation: int
    edges: list[tuple[int, str, int]]  # source plane, weight parameter, index of the filter
    bias: tuple[str, int] | None
    relu: bool = False


@dataclass
class _Planner:
    """Interprets the operations one by one; one method a kind."""

    program: Program
    present: Present
    values: dict[int, _Value] = field(default_factory=dict)
    segments: dict[int, _Segment] = field(default_factory=dict)
    inputs: int = 0
    padding: str | None = None
    head: tuple[Operation, Planes] | None = None
    outputs: Planes = ()
    next_plane: int = 0
    output_count: int = 0

    @cached_property
    def readers(self) -> tuple[tuple[int, ...], ...]:
        return self.program.readers

    def refuse(self, operation: Operation, why: str) -> ModelError:
        place = f" in {operation.module!r}" if operation.module else ""
        return ModelError(f"the plane kernels cannot run {operation.name!r}{place}: {why}")

    def input(self, operation: Operation) -> _Value:
        if self.inputs:
            raise self.refuse(operation, "a second input")
        if len(operation.shape) != 4:
            raise self.refuse(operation, f"the input has {len(operation.shape)} axes, not 4")
        self.inputs = self.next_plane = operation.channels
        return _Value(tuple(range(self.inputs)))

    def convolution(self, operation: Operation) -> _Value:
        source = self.values[operation.inputs[0]]
        weight = self.program.tensors[operation.parameters["weight"]]
        settings = operation.settings
        if weight.ndim != 4 or settings["transposed"] or set(settings["stride"]) != {1}:
            raise self.refuse(operation, "only 2-D convolutions of stride 1 are")
        if tuple(weight.shape[2:]) == (1, 1) and self._is_last(operation):
            return self._final(operation, source)
        dilation = settings["dilation"][0]
        if tuple(weight.shape[2:]) != (3, 3) or settings["dilation"] != (dilation,) * 2:
            shape = "x".join(map(str, weight.shape[2:]))
            raise self.refuse(operation, f"a {shape} convolution that is not the last operation")
        self._check_padding(operation, source, dilation)
        return _Value(self._convolve(operation, source.planes, weight, dilation))

    def _is_last(self, operation: Operation) -> bool:
        readers = self.readers[operation.index]
        if len(readers) != 1:
            return False
        reader = self.program.operations[readers[0]]
        return reader.kind == "output" or (reader.kind == "identity" and self._is_last(reader))

    def _final(self, operation: Operation, source: _Value) -> _Value:
        if operation.settings["groups"] != 1 or set(operation.settings["padding"]) != {0}:
            raise self.refuse(operation, "a final 1x1 layer with groups or padding")
        if source.pad is not None:
            raise self.refuse(operation, "a final 1x1 layer on a padded picture")
        self.head = (operation, source.planes)
        return _Value(())

    def _check_padding(self, operation: Operation, source: _Value, dilation: int) -> None:
        own = tuple(operation.settings["padding"])
        if source.pad is None:
            mode, given = "zeros", own
        else:
            mode, given = source.pad[0], (source.pad[1],) * 2
            if set(own) != {0}:
                raise self.refuse(operation, "padding twice")
        if given != (dilation, dilation):
            raise self.refuse(operation, f"padding {given} with dilation {dilation} changes sizes")
        if self.padding not in (None, mode):
            raise self.refuse(operation, f"{mode} padding after {self.padding} padding")
        self.padding = mode

    def _convolve(
        self, operation: Operation, planes: Planes, weight: Tensor, dilation: int
    ) -> Planes:
        name, bias = operation.parameters["weight"], operation.parameters.get("bias")
        alive = self.present.get(name, np.ones(weight.shape[:2], bool))
        shifted = np.zeros(len(weight), bool)
        if bias is not None:
            shifted = self.present.get(bias, ~shifted)
        per_group = weight.shape[1]
        outs_per_group = len(weight) // operation.settings["groups"]
        result = []
        for out in range(len(weight)):
            first = out // outs_per_group * per_group
            edges = [
                (planes[first + i], name, out * per_group + i)
                for i in np.flatnonzero(alive[out]).tolist()
                if planes[first + i] != ZERO
            ]
            if not edges and not shifted[out]:
                result.append(ZERO)
                continue
            plane, self.next_plane = self.next_plane, self.next_plane + 1
            self.segments[plane] = _Segment(
                plane, dilation, edges, (bias, out) if bias is not None and shifted[out] else None
            )
            result.append(plane)
        return tuple(result)

    def unary(self, operation: Operation) -> _Value:
        producer, alone = self._producer(operation)
        before = self.program.operations[producer]
        if operation.settings["function"] != "relu":
            raise self.refuse(operation, "of the activations only ReLU is")
        if before.kind != "convolution" or not alone:
            raise self.refuse(operation, "a ReLU that does not follow its own convolution")
        for plane in self.values[producer].planes:
            if plane != ZERO:
                self.segments[plane].relu = True
        return self.values[producer]

    def _producer(self, operation: Operation) -> tuple[int, bool]:
        """The operation whose result is read, behind copies, and whether nobody else reads it."""
        index, alone = operation.inputs[0], True
        while True:
            alone = alone and len(self.readers[index]) == 1
            if self.program.operations[index].kind != "identity":
                return index, alone
            index = self.program.operations[index].inputs[0]

    def pad(self, operation: Operation) -> _Value:
        sides = operation.settings["padding"]
        amounts = set(sides)
        mode = {"constant": "zeros"}.get(operation.settings["mode"], operation.settings["mode"])
        before = self.values[operation.inputs[0]]
        plain = mode != "zeros" or not operation.settings.get("value")
        even = len(sides) == 4 and len(amounts) == 1 and min(amounts) >= 0
        if not even or before.pad is not None or not plain:
            raise self.refuse(operation, "uneven, negative, nonzero or repeated padding")
        if mode not in ("zeros", "replicate", "reflect"):
            raise self.refuse(operation, f"{mode} padding")
        return _Value(before.planes, (mode, amounts.pop()))

    def concat(self, operation: Operation) -> _Value:
        parts = [self._unpadded(operation, i).planes for i in operation.inputs]
        return _Value(tuple(plane for part in parts for plane in part))

    def slice(self, operation: Operation) -> _Value:
        taken = slice(*(operation.settings[key] for key in ("start", "stop", "step")))
        return _Value(self._unpadded(operation, operation.inputs[0]).planes[taken])

    def zeros(self, operation: Operation) -> _Value:
        if len(operation.shape) != 4:
            raise self.refuse(operation, f"zeros with {len(operation.shape)} axes, not 4")
        return _Value((ZERO,) * operation.channels)

    def identity(self, operation: Operation) -> _Value:
        return self.values[operation.inputs[0]]

    def output(self, operation: Operation) -> _Value:
        self.output_count += 1
        producer, _ = self._producer(operation)
        if self.output_count > 1 or (self.head and producer != self.head[0].index):
            raise self.refuse(operation, "a second output")
        self.outputs = self._unpadded(operation, operation.inputs[0]).planes
        return _Value(())

    def _unpadded(self, operation: Operation, index: int) -> _Value:
        value = self.values[index]
        if value.pad is not None:
            raise self.refuse(operation, "padding that no convolution absorbs")
        return value

    def _check_numbers(self, operation: Operation) -> None:
        value = None if operation.node is None else operation.node.meta.get("val")
        tensors = [self.program.tensors[name] for name in operation.parameters.values()]
        for tensor in [value, *tensors]:
            if isinstance(tensor, Tensor) and tensor.dtype != torch.float32:
                raise self.refuse(operation, f"it computes in {tensor.dtype}, not torch.float32")
            if isinstance(tensor, Tensor) and tensor.device.type != "cpu":
                raise self.refuse(operation, f"it is on {tensor.device}, not on the CPU")

    def run(self) -> None:
        kinds: dict[str, Callable[[Operation], _Value]] = {
            "input": self.input,
            "convolution": self.convolution,
            "unary": self.unary,
            "pad": self.pad,
            "concat": self.concat,
            "slice": self.slice,
            "zeros": self.zeros,
            "identity": self.identity,
            "output": self.output,
        }
        for operation in self.program.operations:
            handle = kinds.get(operation.kind)
            if handle is None:
                raise self.refuse(operation, f"no kernel for {operation.kind!r} operations")
            self._check_numbers(operation)
            self.values[operation.index] = handle(operation)


def plan_planes(program: Program, present: Present) -> PlanePlan:
    """Plan a traced network for the plane kernels.

    Args:
        program: a traced network.
        present: which filters and biases are there; the others are never read.

    Returns:
        The plan. Channels without an input, or that no output needs, have no plane.

    Raises:
        ModelError: the network has an operation that the plane kernels do not do.
    """
    planner = _Planner(program, present)
    planner.run()
    read = planner.head[1] if planner.head else planner.outputs
    if set(read) <= {ZERO} or (planner.head is None and ZERO in read):
        raise ModelError("the plane kernels cannot run a network with an output that is constant")
    return _assemble(planner)


def _assemble(planner: _Planner) -> PlanePlan:
    head_planes = planner.head[1] if planner.head else ()
    needed = {*head_planes, *planner.outputs} - {ZERO}
    for plane, segment in sorted(planner.segments.items(), reverse=True):
        if plane in needed:
            needed.update(source for source, _, _ in segment.edges)
    live = [segment for plane, segment in sorted(planner.segments.items()) if plane in needed]
    number = {plane: plane for plane in range(planner.inputs)}
    for segment in live:
        number[segment.plane] = len(number)

    tensors = planner.program.tensors
    last = planner.head[0].index if planner.head else None
    layers = [
        operation.parameters
        for operation in planner.program.operations
        if operation.kind == "convolution" and operation.index != last
    ]
    weights = _places({p["weight"]: tensors[p["weight"]].shape[:2].numel() for p in layers})
    biases = _places({p["bias"]: len(tensors[p["bias"]]) for p in layers if "bias" in p})
    no_bias = sum(len(tensors[name]) for name in biases)
    rows: list[tuple[int, ...]] = []
    source: list[int] = []
    taps: list[int] = []
    bias: list[int] = []
    for segment in live:
        first = len(source)
        for plane, name, index in segment.edges:
            source.append(number[plane])
            taps.append(weights[name] + index)
        rows.append((number[segment.plane], segment.dilation, first, len(source), segment.relu))
        bias.append(biases[segment.bias[0]] + segment.bias[1] if segment.bias else no_bias)

    head = planner.head[0].parameters if planner.head else {}
    channels = [c for c, plane in enumerate(head_planes) if plane != ZERO]
    outputs = tensors[head["weight"]].shape[0] if head else len(planner.outputs)
    return PlanePlan(
        program=PlaneProgram(
            inputs=planner.inputs,
            planes=len(number),
            segments=_ids(rows).reshape(-1, 5),
            source=_ids(source),
            head=_ids([number[head_planes[c]] for c in channels]),
            outputs=outputs,
            output_planes=_ids([number[plane] for plane in planner.outputs]),
            padding=planner.padding or "zeros",
        ),
        weights=tuple(weights),
        taps=_ids(taps),
        biases=tuple(biases),
        bias=_ids(bias),
        head=head.get("weight"),
        head_bias=head.get("bias"),
        head_channels=_ids(channels),
    )


def _places(sizes: dict[str, int]) -> dict[str, int]:
    """Where each name's entries begin in the concatenation."""
    places, at = {}, 0
    for name, size in sizes.items():
        places[name] = at
        at += size
    return places


def _ids(values: Sequence[int | tuple[int, ...]]) -> np.ndarray:
    return np.asarray(values, np.int64)
