"""How few filters a path from an input to an output needs."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from jaxtyping import Bool, Float

from leanline.graph.filters import by_group
from leanline.graph.program import Operation, Program

_FAR = np.inf


def fewest_filters(
    program: Program,
    kept: Mapping[str, Bool[np.ndarray, "_ _"]],
    counted: Collection[str],
) -> float:
    """Smallest number of filters on a path from an input to an output.

    Args:
        program: The traced network.
        kept: Filters that may be used, by weight name; a weight that is missing has all.
        counted: Weights whose filters count.

    Returns:
        The number; infinity if there is no path.
    """
    least: list[Float[np.ndarray, "channels"]] = []
    best = _FAR
    for operation in program.operations:
        inputs = [least[index] for index in operation.inputs]
        least.append(_least(program, operation, inputs, kept, counted))
        if operation.kind == "output":
            best = min(best, float(least[-1].min(initial=_FAR)))
    return best


def _least(
    program: Program,
    operation: Operation,
    inputs: list[Float[np.ndarray, "_"]],
    kept: Mapping[str, Bool[np.ndarray, "_ _"]],
    counted: Collection[str],
) -> Float[np.ndarray, "channels"]:
    kind, count = operation.kind, operation.channels
    if kind == "input":
        return np.zeros(count)
    if not inputs:
        return np.full(count, _FAR)
    if kind in ("convolution", "linear"):
        name = operation.parameters["weight"]
        mask = kept.get(name)
        if mask is None:
            groups = int(operation.settings.get("groups", 1))
            nearest = inputs[0].reshape(groups, -1).min(1, initial=_FAR)
            found = np.repeat(nearest, count // groups)
        else:
            grouped = by_group(operation, mask)
            given = inputs[0].reshape(grouped.shape[0], 1, grouped.shape[2])
            found = np.where(grouped, given, _FAR).min(2, initial=_FAR).reshape(count)
        return np.asarray(found + float(name in counted))
    if kind == "opaque":
        return np.full(count, min(float(part.min(initial=_FAR)) for part in inputs))
    if kind == "concat":
        return np.concatenate(inputs)
    if kind == "slice":
        settings = operation.settings
        return inputs[0][settings["start"] : settings["stop"] : settings["step"]]
    if kind == "mix":
        source, target = operation.settings["pairs"]
        mixed = np.full(count, _FAR)
        np.minimum.at(mixed, target, np.concatenate(inputs)[source])
        return mixed
    return np.asarray(np.minimum.reduce(inputs))
