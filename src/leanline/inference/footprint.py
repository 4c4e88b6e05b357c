"""The memory that computing a network takes, from a traced network."""

from __future__ import annotations

import math

from leanline.graph.program import Program


def bytes_per_pixel(program: Program) -> float:
    """The most that results take at one time, with a copy of the largest; float32."""
    operations = program.operations
    pixels = math.prod(operations[0].size) * operations[0].shape[0]
    last = {index: index for index in range(len(operations))}
    for operation in operations:
        for source in operation.inputs:
            last[source] = operation.index
    sizes = [math.prod(operation.shape) for operation in operations]
    most = held = 0
    for index in range(len(operations)):
        held += sizes[index]
        most = max(most, held + max(sizes[index], *(sizes[i] for i in operations[index].inputs), 0))
        held -= sum(sizes[i] for i in {*operations[index].inputs, index} if last[i] == index)
    return 4.0 * most / max(1, pixels)
