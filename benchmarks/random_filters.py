"""Random filters on chains, the same fraction of every layer, as a workload.

Times then depend neither on a criterion, nor on how a network was initialised, and multiply-adds
fall as the number of filters does.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor, nn

from leanline.graph import trace_program
from leanline.graph.program import Operation, Program
from leanline.types import ExampleInputs


def random_filters(
    model: nn.Module,
    example_inputs: ExampleInputs,
    keep: float,
    ignore: Collection[str] = ("final",),
    seed: int = 0,
) -> dict[str, Tensor]:
    """Masks that keep a fraction of each layer's filters, each fed and, as a rule, read.

    Layer by layer, the filters read all channels that are alive in turn and write to as many
    channels as that many random filters would reach.

    Args:
        model: a network whose channels are moved by convolutions, concatenations and operations
            on single channels only.
        example_inputs: as for `leanline.trace`.
        keep: fraction of each layer's filters.
        ignore: modules whose filters all stay.
        seed: of the choice.
    """
    program = trace_program(model, example_inputs)
    rng = np.random.default_rng(seed)
    alive: dict[int, np.ndarray] = {}
    masks = {}
    for operation in program.operations:
        if operation.kind != "convolution":
            alive[operation.index] = _passed(program, operation, alive)
            continue
        name = operation.parameters["weight"]
        shape = program.tensors[name].shape[:2]
        transposed = bool(operation.settings["transposed"])
        mask = np.ones(shape[::-1] if transposed else shape, bool)  # outputs x inputs
        if name.rpartition(".")[0] not in ignore:
            mask = _drawn(mask.shape, round(keep * mask.size), alive[operation.inputs[0]], rng)
            masks[name] = torch.from_numpy(mask.T.copy() if transposed else mask)
        alive[operation.index] = mask.any(1)
    return masks


def _drawn(
    shape: tuple[int, ...], count: int, alive: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    outs, sources = shape[0], np.flatnonzero(alive)
    reached = max(1, round(outs * (1 - np.exp(-count / outs))))
    targets = rng.permutation(outs)[:reached]
    mask = np.zeros(shape, bool)
    count = min(count, sources.size * reached)
    order = rng.permutation(sources)
    for i in range(count):
        source = order[i % order.size]
        free = targets[~mask[targets, source]]
        target = targets[i % reached]
        mask[rng.choice(free) if mask[target, source] else target, source] = True
    return mask


def _passed(program: Program, operation: Operation, alive: dict[int, np.ndarray]) -> np.ndarray:
    if operation.kind == "input":
        return np.ones(operation.channels, bool)
    before = [alive[index] for index in operation.inputs]
    if operation.kind == "concat":
        return np.concatenate(before)
    if len(before) == 1 and before[0].size in (operation.channels, 0):
        return before[0]
    if operation.kind == "output" and before:
        return before[0]
    raise ValueError(f"random filters cannot pass {operation.name} ({operation.kind})")
