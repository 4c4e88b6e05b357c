"""What a pruning graph consists of, operation by operation."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor, nn

from leanline.graph import (
    Ignore,
    Operation,
    Program,
    PruningGraph,
    resolve_ignored,
    trace_program,
)
from leanline.pruning import Lean
from leanline.pruning.select import choose
from leanline.pruning.weigh import weigh


@dataclass(frozen=True)
class NormRange:
    """Operator norms of an operation's operators, those of norm 0 (pruned ones) left out.

    Attributes:
        least: the smallest.
        median: the middle one.
        largest: the largest.
    """

    least: float
    median: float
    largest: float


@dataclass(frozen=True)
class OperationRow:
    """An operation of the traced network.

    Attributes:
        index: its place; rows are in the order in which the network computes.
        name: of the traced node, unique.
        module: path of the module that calls it, "" at the top.
        kind: what it is ("convolution", "add", ...).
        detail: the same in more words, such as "convolution 3x3, dilation 2" or "relu".
        inputs: indices of the operations that it reads.
        channels: of its result.
        size: of its result's pictures.
        weight: name of its weight, if it has filters.
        filters: filters of that weight, prunable or not; 0 without one.
        kept: those that are not pruned: all, in a network that was not pruned.
        prunable: whether its filters are to be pruned.
        frozen: whether nobody knows what it does to channels.
        norms: of its operators; None where they count as 1 without being computed.
    """

    index: int
    name: str
    module: str
    kind: str
    detail: str
    inputs: tuple[int, ...]
    channels: int
    size: tuple[int, ...]
    weight: str | None
    filters: int
    kept: int
    prunable: bool
    frozen: bool
    norms: NormRange | None

    @property
    def label(self) -> str:
        """The module's path, or the node's name where there is none."""
        return self.module or self.name


@dataclass(frozen=True)
class GraphDescription:
    """A network's pruning graph for people and machines.

    Attributes:
        network: what it is of.
        shape: of the (first) example input.
        tracer: which tracer followed the network.
        nodes: channels in the (reduced) graph.
        edges: operators in it.
        filters: prunable filters.
        kept: those that are not pruned yet.
        unprunable: weights that are not pruned.
        frozen: operations that freeze channels, each with what is known of it, as text.
        operations: all operations.
    """

    network: str
    shape: tuple[int, ...]
    tracer: str
    nodes: int
    edges: int
    filters: int
    kept: int
    unprunable: tuple[str, ...]
    frozen: tuple[str, ...]
    operations: tuple[OperationRow, ...]

    @property
    def counts(self) -> str:
        """How large the graph is, in one line."""
        left = f", {self.kept:,} of them kept" if self.kept < self.filters else ""
        shape = " x ".join(str(extent) for extent in self.shape)
        return (
            f"{self.nodes:,} channels, {self.edges:,} operators, "
            f"{self.filters:,} prunable filters{left}; input {shape}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and dictionaries, for JSON."""
        return asdict(self)


def describe_graph(
    network: nn.Module,
    example_inputs: Tensor | tuple[Tensor, ...],
    ignore: Ignore = (),
    name: str | None = None,
) -> tuple[PruningGraph, GraphDescription]:
    """Trace a network, build its reduced pruning graph and describe it.

    Args:
        network: any convolutional network, with or without masks; not touched.
        example_inputs: a tensor or a tuple of tensors, as it is called with; norms are those on
            pictures of this size.
        ignore: modules whose convolutions are not pruned, as in `leanline.trace`.
        name: how the network is called; by default by its class.

    Raises:
        ModelError: the network cannot be traced or nothing in it can be pruned.
        ConfigError: an entry of `ignore` matches nothing.
    """
    ranges: dict[int, NormRange | None] = {}

    def measured(program: Program, operation: Operation) -> Float[np.ndarray, "..."]:
        norms = weigh(program, operation)
        ranges[operation.index] = _range(norms)
        return norms

    ignored = resolve_ignored(network, ignore)
    program = trace_program(network, example_inputs)
    graph = PruningGraph.build(program, measured, ignored)
    kept = graph.matrices(graph.allowed)
    first = example_inputs if isinstance(example_inputs, Tensor) else example_inputs[0]
    report = graph.report
    counted = kept.keys() | set(report.unprunable)
    rows = tuple(
        _row(program, operation, counted, kept, ranges) for operation in program.operations
    )
    return graph, GraphDescription(
        name or type(network).__name__,
        tuple(first.shape),
        report.tracer,
        graph.num_nodes,
        graph.num_edges,
        graph.num_filters,
        int(graph.allowed.sum()),
        report.unprunable,
        tuple(str(item) for item in report.frozen),
        rows,
    )


def keep_chains(
    graph: PruningGraph, description: GraphDescription, keep: float
) -> tuple[Bool[np.ndarray, "edges"], GraphDescription]:
    """What LEAN would keep if it selected now, as `select` does: filters that are alive.

    Args:
        graph: the graph.
        description: of that graph.
        keep: fraction of the prunable filters, in (0, 1].

    Returns:
        For each edge of the graph whether it is kept (unprunable ones are), and the description
        with the kept filters counted.

    Raises:
        ConfigError: `keep` is outside (0, 1], or no path through the network fits in it.
    """
    matrices = choose(graph, keep, Lean())
    chosen = graph.flags(matrices)
    kept = (graph.edge_filter < 0) | chosen[graph.edge_filter]
    rows = tuple(
        replace(row, kept=int(matrices[row.weight].sum()))
        if row.weight is not None and row.prunable
        else row
        for row in description.operations
    )
    return kept, replace(description, kept=int(chosen.sum()), operations=rows)


def _range(norms: Float[np.ndarray, "..."]) -> NormRange | None:
    found = norms[norms > 0]
    if found.size == 0:
        return None
    return NormRange(float(found.min()), float(np.median(found)), float(found.max()))


def _row(
    program: Program,
    operation: Operation,
    counted: Collection[str],
    kept: Mapping[str, Bool[np.ndarray, "_ _"]],
    ranges: Mapping[int, NormRange | None],
) -> OperationRow:
    weight = operation.parameters.get("weight")
    if weight not in counted:  # scales of channels are no filters
        weight = None
    shape = tuple(program.tensors[weight].shape) if weight is not None else ()
    filters = math.prod(shape[:2]) if shape else 0
    return OperationRow(
        operation.index,
        operation.name,
        operation.module,
        operation.kind,
        _detail(operation, shape[2:]),
        operation.inputs,
        operation.channels,
        operation.size,
        weight,
        filters,
        int(kept[weight].sum()) if weight is not None and weight in kept else filters,
        weight in kept,
        operation.kind == "opaque",
        ranges.get(operation.index),
    )


def _detail(operation: Operation, kernel: tuple[int, ...]) -> str:
    """What the operation is, with the settings that are not the usual ones."""
    settings = operation.settings
    words = str(settings.get("function", operation.kind)).replace("_", " ")
    if operation.kind == "opaque":
        return f"unknown: {operation.name}"
    if settings.get("transposed"):
        words = f"transposed {words}"
    if settings.get("groups", 1) > 1:
        words = f"grouped {words}"
    if kernel:
        words += " " + "x".join(str(extent) for extent in kernel)
    for key in ("stride", "dilation"):
        value = settings.get(key)
        if kernel and isinstance(value, tuple) and set(value) != {1}:
            shown = value[:1] if len(set(value)) == 1 else value
            words += f", {key} " + "x".join(str(extent) for extent in shown)
    return words
