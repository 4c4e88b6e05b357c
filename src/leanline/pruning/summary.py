"""How large a network is, and how much of it is alive."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool
from torch import nn

from leanline.graph import (
    Liveness,
    Operation,
    Program,
    find_live,
    resolve_ignored,
    trace_program,
)
from leanline.graph.present import present_filters
from leanline.pruning.clean import unprunable
from leanline.types import ExampleInputs


@dataclass(frozen=True)
class Amount:
    """A quantity of the unpruned network and of what is alive of it."""

    before: int
    after: int

    @property
    def fraction(self) -> float:
        """What is alive, as a fraction; 1 of nothing."""
        return self.after / self.before if self.before else 1.0

    def __str__(self) -> str:
        """As "after of before (per cent)"."""
        return f"{self.after:,} of {self.before:,} ({100 * self.fraction:.3g} %)"


@dataclass(frozen=True)
class LayerSummary:
    """One convolution or linear layer.

    Attributes:
        name: Name of its weight.
        kind: "convolution" or "linear".
        prunable: Whether it counts among the filters that pruning is about.
        filters: Filters in all and alive.
        kept: Filters that are there, alive or not: by their mask, or without one if not zero.
        channels: Output channels in all and alive.
        macs: Multiply-accumulates on the example inputs.
    """

    name: str
    kind: str
    prunable: bool
    filters: Amount
    kept: int
    channels: Amount
    macs: Amount


@dataclass(frozen=True)
class Summary:
    """Size of a network, before pruning and of its live part.

    Attributes:
        filters: Prunable filters h_ij: of all convolutions but those that `leanline_ignore` names
            and, in a model with masks, those without one.
        kept: Filters that are there, alive or not: by their mask, or without one if not zero.
        channels: Output channels of all convolutions.
        parameters: Numbers in parameters.
        macs: Multiply-accumulates of convolutions and linear layers on the example inputs.
        layers: The same layer by layer.
    """

    filters: Amount
    kept: int
    channels: Amount
    parameters: Amount
    macs: Amount
    layers: tuple[LayerSummary, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and dictionaries, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """A few lines for people."""
        return "\n".join(
            [
                f"filters     {self.filters} alive, {self.kept:,} kept",
                f"channels    {self.channels} alive",
                f"parameters  {self.parameters}",
                f"MACs        {self.macs}",
            ]
        )


def summary(model: nn.Module, example_inputs: ExampleInputs) -> Summary:
    """Count filters, channels, parameters and multiply-accumulates, in all and alive.

    Args:
        model: The network, with or without masks; not touched.
        example_inputs: A tensor or a tuple of tensors, as the model is called with.

    Raises:
        ModelError: If the model cannot be traced.
    """
    program = trace_program(model, example_inputs)
    fixed = unprunable(program, resolve_ignored(model))
    steps = [step for step in program.operations if step.kind in ("convolution", "linear")]
    names = {step.parameters["weight"] for step in steps}
    present = {name: present_filters(program, name) for name in names}
    live = find_live(program, present, fixed)
    layers = tuple(_layer(program, live, step, fixed, present) for step in steps)
    # A weight that two operations share has its filters counted once, its work twice.
    unique = {layer.name: layer for layer in layers if layer.prunable}.values()
    return Summary(
        _sum([layer.filters for layer in unique]),
        sum(layer.kept for layer in unique),
        _sum([layer.channels for layer in layers if layer.kind == "convolution"]),
        _parameters(program, live),
        _sum([layer.macs for layer in layers]),
        layers,
    )


def _sum(amounts: list[Amount]) -> Amount:
    return Amount(sum(a.before for a in amounts), sum(a.after for a in amounts))


def _layer(
    program: Program,
    live: Liveness,
    operation: Operation,
    fixed: frozenset[str],
    present: Mapping[str, Bool[np.ndarray, "_ _"]],
) -> LayerSummary:
    name = operation.parameters["weight"]
    alive = live.filters[name]
    weight = program.tensors[name]
    source = program.operations[operation.inputs[0]]
    pixels = source.size if operation.settings.get("transposed", False) else operation.size
    work = operation.shape[0] * math.prod(pixels) * math.prod(weight.shape[2:])
    count = int(alive.sum())
    channels = live.channels[operation.index]
    return LayerSummary(
        name,
        operation.kind,
        operation.kind == "convolution" and name not in fixed,
        Amount(alive.size, count),
        int(present[name].sum()),
        Amount(channels.size, int(channels.sum())),
        Amount(alive.size * work, count * work),
    )


def _parameters(program: Program, live: Liveness) -> Amount:
    """Numbers in parameters; those that no known operation reads count as alive."""
    alive: dict[str, int] = {}
    for operation in program.operations:
        own = operation.parameters
        channels: np.ndarray = live.channels[operation.index]
        for role, name in own.items():
            tensor = program.tensors[name]
            if operation.kind in ("convolution", "linear") and role == "weight":
                count = int(live.filters[name].sum()) * math.prod(tensor.shape[2:])
            elif operation.kind in ("convolution", "batch_norm", "linear") and tensor.ndim == 1:
                count = int(channels.sum())
            else:
                count = tensor.numel()
            alive[name] = max(alive.get(name, 0), count)
    names = program.parameters
    before = sum(program.tensors[name].numel() for name in names)
    after = sum(alive.get(name, program.tensors[name].numel()) for name in names)
    return Amount(before, after)
