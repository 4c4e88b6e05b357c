"""What the plane kernels execute: which planes are computed from which, in what order.

A `PlaneProgram` describes a network of 3x3 convolutions (any dilation, stride 1, padding that
keeps the size) with optional ReLUs, whose outputs are planes or a final dense 1x1 layer (the
*head*). Concatenation needs nothing: every channel is a plane, and an edge names the plane that
it reads. The program holds structure only; taps, biases and the head's matrix are passed beside
it, so that they can be trained.
"""

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from leanline.errors import ModelError
from leanline.kernels.conv3 import (
    GATE_NONE,
    GATE_OTHER,
    START_FROM_BIAS,
    START_FROM_PLANE,
)
from leanline.kernels.halo import MODES

Table = Int64[np.ndarray, "_ _"]
Ids = Int64[np.ndarray, "_"]

_HEADER = 6


@dataclass(frozen=True, eq=False)
class Gradients:
    """Data gradient as segments: mirrored edges that read the consumers' gradient planes."""

    segments: Table  # plane, dilation, first edge, last edge, start, gate, slot
    source: Ids  # slot of each mirrored edge's plane
    edge: Ids  # edge of the program whose taps, mirrored, it uses
    slots: int  # planes' gradients that are held at the same time


@dataclass(frozen=True, eq=False)
class PlaneProgram:
    """A sparse network over planes.

    Attributes:
        inputs: planes 0..inputs-1 hold the input channels.
        planes: number of planes in all.
        segments: a row a computed plane, in order of computation: plane, dilation, first edge,
            last edge (excluded), 1 if a ReLU follows. The i-th row has the i-th bias.
        source: plane that each edge reads.
        head: planes that the final 1x1 layer reads; empty when there is none.
        outputs: number of outputs.
        output_planes: without a head, the planes that are the output, in order; else empty.
        padding: a key of `leanline.kernels.halo.MODES`.
    """

    inputs: int
    planes: int
    segments: Table
    source: Ids
    head: Ids
    outputs: int
    output_planes: Ids
    padding: str

    @cached_property
    def border(self) -> int:
        """Largest dilation: how far outside the picture a tap may reach."""
        return int(self.segments[:, 1].max(initial=1))

    def encode(self) -> Int64[Tensor, " size"]:
        """Pack into one tensor, as the custom operators take it."""
        header = [
            self.inputs,
            self.planes,
            len(self.segments),
            self.head.size,
            self.outputs,
            MODES[self.padding],
        ]
        parts = [header, self.segments.ravel(), self.head, self.output_planes, self.source]
        return torch.from_numpy(np.concatenate([np.asarray(p, np.int64) for p in parts]))

    @staticmethod
    def decode(packed: Int64[Tensor, " size"]) -> "PlaneProgram":
        """Unpack what `encode` made.

        Raises:
            ModelError: it is no packed program; the kernels would read outside their buffers.
        """
        data = packed.numpy()
        if data.size < _HEADER or data[_HEADER - 1] not in MODES.values():
            raise ModelError("the packed plane program is damaged: no header")
        inputs, planes, count, head, outputs, mode = (int(n) for n in data[:_HEADER])
        if min(inputs, outputs) < 1 or min(count, head) < 0:
            raise ModelError(f"the packed plane program is damaged: counts {data[:_HEADER]}")
        sizes = [_HEADER, 5 * count, head, 0 if head else outputs]
        at = np.cumsum(sizes)
        if data.size < at[-1]:
            raise ModelError(f"the packed plane program is damaged: only {data.size} numbers")
        program = PlaneProgram(
            inputs=inputs,
            planes=planes,
            segments=data[at[0] : at[1]].reshape(count, 5),
            head=data[at[1] : at[2]],
            outputs=outputs,
            output_planes=data[at[2] : at[3]],
            source=data[at[3] :],
            padding={code: name for name, code in MODES.items()}[mode],
        )
        program.check()
        return program

    def check(self) -> None:
        """Refuse what would make the kernels read or write outside their buffers.

        Raises:
            ModelError: a plane or an edge that is named does not exist.
        """
        plane, dilation, first, last, _ = self.segments.T
        named = {
            "computed plane": (plane, self.inputs, self.planes),
            "source plane": (self.source, 0, self.planes),
            "head plane": (self.head, 0, self.planes),
            "output plane": (self.output_planes, 0, self.planes),
            "dilation": (dilation, 1, 1 << 20),
            "first edge": (first, 0, self.source.size + 1),
            "number of edges": (last - first, 0, self.source.size + 1),
            "last edge": (last, 0, self.source.size + 1),
        }
        for what, (values, low, high) in named.items():
            if values.size and not low <= values.min() <= values.max() < high:
                raise ModelError(
                    f"a plane program has a {what} outside {low}..{high - 1}: "
                    f"{values.min()}..{values.max()}"
                )

    @cached_property
    def gradients(self) -> Gradients:
        """The data gradient's segments, consumers before producers, input planes last.

        A plane's consumers may have different dilations: they are grouped, the first group starts
        from what the head (or the output's gradient) left in the plane, the last one applies the
        gate of the plane's ReLU. Planes that nobody reads get an empty segment, so that every
        plane is written.
        """
        readers: dict[int, dict[int, list[tuple[int, int]]]] = defaultdict(dict)
        gated = set()
        for plane, dilation, first, last, relu in self.segments.tolist():
            if relu:
                gated.add(plane)
            for edge in range(first, last):
                group = readers[int(self.source[edge])].setdefault(dilation, [])
                group.append((edge, plane))
        seeded = {*self.head.tolist(), *self.output_planes.tolist()}
        rows: list[tuple[int, ...]] = []
        source: list[int] = []
        edges: list[int] = []
        computed = self.segments[::-1, 0].tolist()
        for plane in [*computed, *range(self.inputs)]:
            groups = sorted(readers[plane].items()) or [(1, [])]
            for index, (dilation, group) in enumerate(groups):
                start = START_FROM_PLANE if index or plane in seeded else START_FROM_BIAS
                final = index == len(groups) - 1 and plane in gated
                gate = GATE_OTHER if final else GATE_NONE
                first = len(source)
                rows.append((plane, dilation, first, first + len(group), start, gate))
                source += [consumer for _, consumer in group]
                edges += [edge for edge, _ in group]
        table = np.asarray(rows, np.int64).reshape(-1, 6)
        consumers = np.asarray(source, np.int64)
        slot = _slots(table, consumers)
        return Gradients(
            segments=np.column_stack([table, slot[table[:, 0]]]),
            source=slot[consumers],
            edge=np.asarray(edges, np.int64),
            slots=int(slot.max()) + 1,
        )


def _slots(rows: Table, source: Ids) -> Ids:
    """A place for each plane's gradient, free again once the gradient has been read the last time.

    Fewer planes stay in the cache; the one that became free last is taken first.
    """
    last = {}
    for index, (plane, _, first, end, _, _) in enumerate(rows.tolist()):
        for read in (plane, *source[first:end].tolist()):
            last[read] = index
    slot = np.zeros(max(last) + 1, np.int64)
    free: list[int] = []
    used = 0
    held: set[int] = set()
    for index, (plane, _, first, end, _, _) in enumerate(rows.tolist()):
        if plane not in held:
            held.add(plane)
            if not free:
                free.append(used)
                used += 1
            slot[plane] = free.pop()
        done = {plane, *source[first:end].tolist()}
        free += [int(slot[p]) for p in sorted(done) if last[p] == index]
    return slot
