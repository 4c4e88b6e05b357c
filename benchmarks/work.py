"""What a pruned network needs at least: multiply-adds, and bytes that go through the caches.

The bytes are those of a kernel that goes plane by plane, as leanline's do: each live channel is
written once, each live filter reads its source channel once, and weights are read once. A 1 x 1
layer reads each of its source channels once for all outputs. Pooling, padding and concatenation
count as nothing. Kernels that keep rows in the first caches for several outputs can do with fewer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import nn

from benchmarks.limits import Limits
from leanline.graph import trace_program
from leanline.graph.liveness import find_live
from leanline.graph.present import present_filters
from leanline.graph.program import Operation, Program
from leanline.types import ExampleInputs

NUMBER = 4  # bytes of a float32


@dataclass(frozen=True)
class Work:
    """Of the live filters of one call.

    Attributes:
        multiply_adds: taps x pixels, over live filters.
        bytes: see the module.
    """

    multiply_adds: int
    bytes: int

    def milliseconds(self, limits: Limits) -> dict[str, float]:
        """Time at the peak of arithmetic, and at the last-level cache's speed."""
        return {
            "arithmetic": 1e3 * self.multiply_adds / limits.multiply_adds,
            "bytes": 1e3 * self.bytes / limits.cache_bytes,
        }


def work_of(model: nn.Module, example_inputs: ExampleInputs) -> Work:
    """Count the work of a network's live filters; without masks, of all that are not zero."""
    program = trace_program(model, example_inputs)
    steps = [step for step in program.operations if step.kind == "convolution"]
    names = {step.parameters["weight"] for step in steps}
    live = find_live(program, {name: present_filters(program, name) for name in names})
    parts = [
        _work(
            program, step, live.filters[step.parameters["weight"]], live.channels[step.index].sum()
        )
        for step in steps
    ]
    return Work(sum(part.multiply_adds for part in parts), sum(part.bytes for part in parts))


def _work(program: Program, step: Operation, filters: np.ndarray, written: int) -> Work:
    taps = math.prod(program.tensors[step.parameters["weight"]].shape[2:])
    source = program.operations[step.inputs[0]]
    transposed = bool(step.settings["transposed"])
    count = int(filters.sum())
    read = count if taps > 1 else int(filters.any(1 if transposed else 0).sum())
    numbers = read * source.pixels + int(written) * step.pixels + count * taps + int(written)
    return Work(count * taps * (source if transposed else step).pixels, NUMBER * numbers)
