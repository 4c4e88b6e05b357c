"""How large a network is, how much of it is alive, and what that is worth once it is compact."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from torch import nn

from leanline import compaction, runtime
from leanline.errors import ModelError
from leanline.graph import (
    Liveness,
    Operation,
    Program,
    find_live,
    resolve_ignored,
    trace_program,
)
from leanline.graph.present import present_filters
from leanline.masks import baked_copy
from leanline.pruning.clean import unprunable
from leanline.records.tensors import save_tensors
from leanline.runtime import TimingTable
from leanline.types import ExampleInputs


@dataclass(frozen=True)
class Amount:
    """A quantity of the unpruned network, and of what is left of it."""

    before: int
    after: int

    @property
    def fraction(self) -> float:
        """What is left, as a fraction; 1 of nothing."""
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
class CompactSummary:
    """The network before pruning, and its compact copy.

    Attributes:
        parameters: Numbers in parameters.
        macs: Multiply-accumulates of convolutions and linear layers: of dense layers, before and
            after. The compact network has fewer channels, and all filters between those.
        bytes: Of the safetensors file of its state, and of what `leanline.save` writes.
    """

    parameters: Amount
    macs: Amount
    bytes: Amount


@dataclass(frozen=True)
class Summary:
    """Size of a network, before pruning and of its live part.

    Attributes:
        filters: Prunable filters h_ij: of all convolutions but those that `leanline_ignore` names
            and, in a model with masks, those without one.
        kept: Filters that are there, alive or not: by their mask, or without one if not zero.
        channels: Output channels of all convolutions.
        parameters: Numbers in parameters; after: those of live filters and channels.
        macs: Multiply-accumulates of convolutions (kept filters x taps x pixels) and linear layers
            on the example inputs; after: of live filters alone, what a kernel does that skips all
            others. Products of two computed tensors, as in attention, do not count.
        layers: The same layer by layer.
        compact: The compact network beside the unpruned one; None if there is none.
        problem: Why there is none, or "".
        timing: Milliseconds, measured in turn: "before" and "compact" in PyTorch, "kernels" the
            compact network on leanline's kernels, where they run it. None if nothing was timed.
    """

    filters: Amount
    kept: int
    channels: Amount
    parameters: Amount
    macs: Amount
    layers: tuple[LayerSummary, ...]
    compact: CompactSummary | None = None
    problem: str = ""
    timing: TimingTable | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and dictionaries, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """A few lines for people."""
        lines = [
            f"filters     {self.filters} alive, {self.kept:,} kept",
            f"channels    {self.channels} alive",
            f"parameters  {self.parameters} in live filters",
            f"MACs        {self.macs} in live filters",
        ]
        if self.compact is not None:
            lines += [
                f"compacted   {self.compact.parameters} parameters",
                f"            {self.compact.macs} MACs",
                f"            {self.compact.bytes} bytes on disk",
            ]
        if self.problem:
            lines.append(f"compacted   not possible: {self.problem}")
        if self.timing is not None:
            lines.append(_times(self.timing))
        return "\n".join(lines)


def _times(table: TimingTable) -> str:
    first, *others = table.rows
    parts = [f"{first.median:.3f} ms {first.name}"]
    parts += [f"{row.median:.3f} ms {row.name} ({row.speedup:.2f}x)" for row in others]
    return f"time        {', '.join(parts)}; {table.threads} thread(s)"


def summary(
    model: nn.Module,
    example_inputs: ExampleInputs,
    seconds: float | None = None,
    small: nn.Module | None = None,
) -> Summary:
    """Count filters, channels, parameters, multiply-accumulates and bytes, before and after.

    Args:
        model: The network, with or without masks; not touched.
        example_inputs: A tensor or a tuple of tensors, as the model is called with.
        seconds: How long to measure milliseconds; None measures none.
        small: What `leanline.compact` made of the model; made here if not given.

    Raises:
        ModelError: If the model cannot be traced.
        ConfigError: If the time is negative.
    """
    found = sizes(model, example_inputs)
    problem = ""
    if small is None:
        try:
            small = compaction.compact(model, example_inputs)
        except ModelError as error:
            problem = str(error)
    compact = None
    if small is not None:
        compact = _compact(model, small, example_inputs, found.parameters.before, found.macs.before)
    timing = None if seconds is None else _time(model, small, example_inputs, seconds)
    return replace(found, compact=compact, problem=problem, timing=timing)


def sizes(model: nn.Module, example_inputs: ExampleInputs) -> Summary:
    """A `summary` that counts and does not compact: nothing of the compact network is in it.

    Args:
        model: The network, with or without masks; not touched.
        example_inputs: A tensor or a tuple of tensors, as the model is called with.

    Raises:
        ModelError: If the model cannot be traced.
    """
    program = trace_program(model, example_inputs)
    fixed = unprunable(program, resolve_ignored(model))
    layers, live = _layers(program, fixed)
    # A weight that two operations share has its filters counted once, its work twice.
    unique = {layer.name: layer for layer in layers if layer.prunable}.values()
    return Summary(
        _sum([layer.filters for layer in unique]),
        sum(layer.kept for layer in unique),
        _sum([layer.channels for layer in layers if layer.kind == "convolution"]),
        _parameters(program, live),
        _sum([layer.macs for layer in layers]),
        layers,
        None,
        "",
        None,
    )


def _compact(
    model: nn.Module, small: nn.Module, example_inputs: ExampleInputs, parameters: int, macs: int
) -> CompactSummary:
    program = trace_program(small, example_inputs)
    layers, live = _layers(program, frozenset())
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "before.safetensors", Path(folder) / "after.safetensors"
        save_tensors(files[0], baked_copy(model).state_dict())
        compaction.save(small, files[1])
        sizes = Amount(*(file.stat().st_size for file in files))
    return CompactSummary(
        Amount(parameters, _parameters(program, live).before),
        Amount(macs, sum(layer.macs.before for layer in layers)),
        sizes,
    )


def _time(
    model: nn.Module, small: nn.Module | None, example_inputs: ExampleInputs, seconds: float
) -> TimingTable:
    networks: dict[str, nn.Module] = {"before": baked_copy(model)}
    if small is not None:
        networks["compact"] = small
        with contextlib.suppress(ModelError):  # networks that the kernels do not run
            networks["kernels"] = runtime.compile(small, example_inputs, "cpu")
    return runtime.benchmark(networks, example_inputs, seconds)


def _layers(program: Program, fixed: frozenset[str]) -> tuple[tuple[LayerSummary, ...], Liveness]:
    steps = [step for step in program.operations if step.kind in ("convolution", "linear")]
    names = {step.parameters["weight"] for step in steps}
    present = {name: present_filters(program, name) for name in names}
    live = find_live(program, present, fixed)
    return tuple(_layer(program, live, step, fixed, present) for step in steps), live


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
