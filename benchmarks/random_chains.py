"""Random chains: filters along random paths from an input channel to an output, as a workload.

They spread over all layers by chance alone, so that times do not depend on a criterion or on how a
network was initialised.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from leanline.graph import trace_program
from leanline.graph.program import Operation, Program
from leanline.types import ExampleInputs


def random_chains(
    model: nn.Module, example_inputs: ExampleInputs, keep: float, seed: int = 0
) -> dict[str, Tensor]:
    """Masks of filters that lie on random chains.

    Args:
        model: a network whose channels are moved by convolutions, concatenations and operations
            on single channels only.
        example_inputs: as for `leanline.trace`.
        keep: fraction of the filters; chains are drawn until there are as many.
        seed: of the chains.
    """
    program = trace_program(model, example_inputs)
    rng = np.random.default_rng(seed)
    convolutions = [o for o in program.operations if o.kind == "convolution"]
    names = [o.parameters["weight"] for o in convolutions]
    masks = {n: np.zeros(program.tensors[n].shape[:2], bool) for n in names}
    wanted = round(keep * sum(mask.size for mask in masks.values()))
    kept = 0
    while kept < wanted:
        for name, row, column in _chain(program, rng):
            kept += not masks[name][row, column]
            masks[name][row, column] = True
            if kept >= wanted:
                break
    return {name: torch.from_numpy(mask) for name, mask in masks.items()}


def _chain(program: Program, rng: np.random.Generator) -> list[tuple[str, int, int]]:
    """Filters from an input to an output: parameter, and place in its first two axes."""
    operations, readers = program.operations, program.readers
    at = next(o for o in operations if o.kind == "input")
    channel = int(rng.integers(at.channels))
    found = []
    while readers[at.index]:
        after = operations[int(rng.choice(readers[at.index]))]
        channel, step = _through(program, at, after, channel, rng)
        found += step
        at = after
    return found


def _through(
    program: Program, before: Operation, after: Operation, channel: int, rng: np.random.Generator
) -> tuple[int, list[tuple[str, int, int]]]:
    if after.kind == "convolution":
        name, out = after.parameters["weight"], int(rng.integers(after.channels))
        transposed = after.settings["transposed"]
        return out, [(name, channel, out) if transposed else (name, out, channel)]
    if after.kind == "concat":
        sizes = [program.operations[i].channels for i in after.inputs]
        return channel + sum(sizes[: after.inputs.index(before.index)]), []
    if after.channels != before.channels and after.kind != "output":
        raise ValueError(f"random chains cannot pass {after.name} ({after.kind})")
    return channel, []
