"""Turn a program into blocks of weighted edges."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from leanline.graph.channel_graph import ChannelGraph, EdgeBlock, log_weights
from leanline.graph.filters import by_group
from leanline.graph.program import Operation, Program

_ONE_TO_ONE = frozenset({"identity", "unary", "batch_norm", "norm", "gain", "shift"})
_YES, _NO = np.array(True), np.array(False)


class GraphBuilder:
    """Builds the channel graph of a program, once.

    Args:
        program: The traced network.
        weigh: Norms of an operation, as `pruning_graph.Weigher`.
        offsets: Prunable weights by name, with the id of their first filter.
        reduce: Whether to fold and merge (appendix A.1.2).
    """

    def __init__(
        self,
        program: Program,
        weigh: Callable[[Program, Operation], Float[np.ndarray, "..."]],
        offsets: Mapping[str, int],
        reduce: bool,
    ) -> None:
        self._program = program
        self._weigh = weigh
        self._offsets = offsets
        self._reduce = reduce
        self._nodes: list[np.ndarray] = []  # node ids of the channels of each operation
        self._blocks: list[EdgeBlock] = []
        self._filters: list[np.ndarray] = []  # filter ids of the edges, block by block
        self._count = 0
        self._roots = _private_roots(program)
        self._logs: dict[int, np.ndarray] = {}  # log weights of one-to-one steps

    def build(self) -> tuple[ChannelGraph, Int[np.ndarray, "edges"]]:
        """The graph, and for each edge its filter (-1: unprunable)."""
        for operation in self._program.operations:
            if operation.kind in _ONE_TO_ONE:
                self._logs[operation.index] = self._log_weight(operation)
        folded, inside = self._folds()
        for operation in self._program.operations:
            self._add(operation, folded)
        ends = np.ones(self._count, dtype=bool)
        if not self._reduce:
            for index in inside:
                ends[self._nodes[index]] = False
        graph = ChannelGraph.from_blocks(tuple(self._blocks), self._count, ends)
        filters = np.concatenate(self._filters) if self._filters else np.empty(0, dtype=np.int32)
        return graph, filters

    def nodes_of(self, kind: str) -> Int[np.ndarray, "_"]:
        """Nodes of all operations of a kind, once the graph is built."""
        found = [
            nodes
            for nodes, operation in zip(self._nodes, self._program.operations, strict=True)
            if operation.kind == kind
        ]
        return np.unique(np.concatenate(found)) if found else np.empty(0, dtype=np.int32)

    def _folds(self) -> tuple[dict[int, np.ndarray], list[int]]:
        """Log scales that fold into each convolution, and operations inside such a step."""
        steps: dict[int, list[int]] = {}
        for index, root in enumerate(self._roots):
            if root is not None:
                steps.setdefault(root, []).append(index)
        scales: dict[int, np.ndarray] = {}
        inside: list[int] = []
        for root, members in steps.items():
            scaling = [index for index in members[1:] if np.any(self._logs[index] != 0)]
            if scaling:
                scales[root] = np.sum([self._logs[index] for index in scaling], axis=0)
                inside.extend(index for index in members if index < scaling[-1])
        return scales, inside

    def _add(self, operation: Operation, folded: Mapping[int, np.ndarray]) -> None:
        kind = operation.kind
        inputs = [self._nodes[index] for index in operation.inputs]
        if self._reduce and self._merges(operation):
            self._nodes.append(_merged(operation, inputs))
            return
        own = np.arange(self._count, self._count + operation.channels, dtype=np.int32)
        self._count += operation.channels
        self._nodes.append(own)
        if not inputs:
            return
        if kind in ("convolution", "linear"):
            scale = folded.get(operation.index) if self._reduce else None
            self._add_filters(operation, inputs[0], own, scale)
        elif kind == "opaque":
            self._add_opaque(inputs, own)
        elif kind in ("add", "join", "multiply", "divide"):
            for source, gain in zip(inputs, self._gains(operation), strict=True):
                self._add_pairs(source, own, log_weights(np.full(own.size, gain)))
        elif kind == "mix":
            first, second = operation.settings["pairs"]
            gains = np.full(first.size, operation.settings["gain"])
            self._add_pairs(np.concatenate(inputs)[first], own[second], log_weights(gains))
        elif kind in ("concat", "slice"):
            source = _merged(operation, inputs)
            self._add_pairs(source, own, np.zeros(own.size, dtype=np.float32))
        else:
            logs = self._logs.get(operation.index)
            self._add_pairs(inputs[0], own, self._log_weight(operation) if logs is None else logs)

    def _merges(self, operation: Operation) -> bool:
        """Whether the channels of an operation are those of its inputs, by paths of weight 1."""
        if operation.kind in ("concat", "slice", "pad", "output"):
            return True
        if operation.kind in _ONE_TO_ONE:
            private = self._roots[operation.index] is not None
            return private or not np.any(self._logs[operation.index] != 0)
        return operation.kind == "mix" and _is_map(operation)

    def _log_weight(self, operation: Operation) -> Float32[np.ndarray, "channels"]:
        if operation.kind in ("identity", "pad", "output"):
            return np.zeros(operation.channels, dtype=np.float32)
        norms = np.asarray(self._weigh(self._program, operation), dtype=np.float64)
        return log_weights(np.broadcast_to(norms, (operation.channels,)))

    def _gains(self, operation: Operation) -> list[float]:
        """By how much each input of an elementwise operation is scaled, broadcasting included."""
        gains = operation.settings.get("gains", (1.0,) * len(operation.inputs))
        if operation.kind == "add":
            gains = 1.0, abs(operation.settings["alpha"])
        sources = [self._program.operations[index] for index in operation.inputs]
        repeats = [max(1.0, operation.pixels / max(1, source.pixels)) for source in sources]
        return [gain * math.sqrt(count) for gain, count in zip(gains, repeats, strict=True)]

    def _add_filters(
        self,
        operation: Operation,
        source: Int[np.ndarray, "inputs"],
        own: Int[np.ndarray, "outputs"],
        scale: Float32[np.ndarray, "outputs"] | None,
    ) -> None:
        name = operation.parameters["weight"]
        logs = log_weights(self._weigh(self._program, operation))
        offset = self._offsets.get(name)
        if offset is None:
            ids = np.broadcast_to(np.int32(-1), logs.shape)
        else:
            ids = np.arange(offset, offset + logs.size, dtype=np.int32).reshape(logs.shape)
        weights, filters = by_group(operation, logs), by_group(operation, ids)
        groups, outputs, inputs = weights.shape
        if scale is not None:
            weights = weights + scale.reshape(groups, outputs, 1)
        prunable = _NO if offset is None else _YES
        if groups > 1 and inputs * outputs <= 4:  # depthwise: one list instead of many blocks
            src = np.broadcast_to(source.reshape(groups, 1, inputs), weights.shape)
            dst = np.broadcast_to(own.reshape(groups, outputs, 1), weights.shape)
            self._add_block(
                src.reshape(-1), dst.reshape(-1), weights.reshape(-1), prunable, filters
            )
            return
        for group in range(groups):
            self._add_block(
                source[group * inputs : (group + 1) * inputs],
                own[group * outputs : (group + 1) * outputs],
                np.ascontiguousarray(weights[group]),
                prunable,
                filters[group],
            )

    def _add_opaque(self, inputs: list[np.ndarray], own: Int[np.ndarray, "outputs"]) -> None:
        """Complete unprunable edges of weight 1, through one node in the middle."""
        if not inputs:
            return
        source = np.unique(np.concatenate(inputs)).astype(np.int32)
        # The node in the middle must come before the results: it takes the first of their ids.
        hub = np.array([own[0]], dtype=np.int32)
        own = own + np.int32(1)
        self._nodes[-1] = own
        self._count += 1
        self._add_pairs(source, np.repeat(hub, source.size), np.zeros(source.size, np.float32))
        self._add_pairs(np.repeat(hub, own.size), own, np.zeros(own.size, np.float32))

    def _add_pairs(
        self,
        source: Int[np.ndarray, "_"],
        target: Int[np.ndarray, "_"],
        logs: Float32[np.ndarray, "_"],
    ) -> None:
        ids = np.full(logs.size, -1, dtype=np.int32)
        self._add_block(source, target, logs, _NO, ids)

    def _add_block(
        self,
        source: Int[np.ndarray, "_"],
        target: Int[np.ndarray, "_"],
        logs: Float32[np.ndarray, "..."],
        prunable: Bool[np.ndarray, ""],
        ids: Int[np.ndarray, "..."],
    ) -> None:
        self._blocks.append(EdgeBlock(source, target, logs, prunable))
        self._filters.append(np.ascontiguousarray(ids).reshape(-1))


def _merged(operation: Operation, inputs: list[np.ndarray]) -> Int[np.ndarray, "channels"]:
    """Nodes of the input channels that the channels of an operation are."""
    if operation.kind == "concat":
        return np.concatenate(inputs)
    if operation.kind == "slice":
        settings = operation.settings
        return inputs[0][settings["start"] : settings["stop"] : settings["step"]]
    if operation.kind == "mix":
        found: np.ndarray = np.concatenate(inputs)[operation.settings["pairs"][0]]
        return found
    return inputs[0]


def _is_map(operation: Operation) -> bool:
    """Whether the channels of the result are some of the inputs', as they are and in order.

    Others get nodes of their own: the rows of a layer that reads them are then in one piece.
    """
    source, target = operation.settings["pairs"]
    return (
        operation.settings["gain"] == 1
        and np.array_equal(target, np.arange(operation.channels))
        and bool((np.diff(source) > 0).all())
    )


def _private_roots(program: Program) -> list[int | None]:
    """The convolution that an operation belongs to: itself, or the one that it alone reads.

    Batch norms and elementwise steps belong to the convolution before them while each result on
    the way has one reader.
    """
    readers = program.readers
    roots: list[int | None] = []
    for operation in program.operations:
        root: int | None = None
        if operation.kind in ("convolution", "linear"):
            root = operation.index
        elif operation.kind in _ONE_TO_ONE and len(readers[operation.inputs[0]]) == 1:
            root = roots[operation.inputs[0]]
        roots.append(root)
    return roots
