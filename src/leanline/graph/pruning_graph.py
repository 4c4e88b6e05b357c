"""The pruning graph of a traced network (section 4.4.1, reduced as in appendix A.1.2)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from leanline.errors import ModelError
from leanline.graph.channel_graph import ChannelGraph
from leanline.graph.graph_builder import GraphBuilder
from leanline.graph.program import Frozen, Operation, Program

# Norms of one operation: for a convolution or linear layer in the layout of weight.shape[:2], for
# anything else one number or one for each channel.
Weigher = Callable[[Program, Operation], Float[np.ndarray, "..."]]


@dataclass(frozen=True)
class FilterBlock:
    """The filters of one convolution weight.

    Attributes:
        name: Parameter name in the unmasked model.
        shape: weight.shape[:2].
        offset: Id of its first filter; ids follow the rows.
    """

    name: str
    shape: tuple[int, int]
    offset: int

    @property
    def count(self) -> int:
        """Number of filters."""
        return self.shape[0] * self.shape[1]


@dataclass(frozen=True)
class GraphReport:
    """How a pruning graph came about.

    Attributes:
        tracer: Which tracer followed the model.
        frozen: What could not be followed channel by channel, where and why.
        unprunable: Weights that are not pruned: ignored convolutions and linear layers.
        unreached: Weights of convolutions and linear layers that no output depends on.
        num_nodes: Channels in the graph.
        num_edges: Operators in the graph.
        num_filters: Prunable filters.
    """

    tracer: str
    frozen: tuple[Frozen, ...]
    unprunable: tuple[str, ...]
    unreached: tuple[str, ...]
    num_nodes: int
    num_edges: int
    num_filters: int

    def __str__(self) -> str:
        """One or a few lines for people."""
        lines = [
            f"{self.num_nodes:,} channels, {self.num_edges:,} edges, "
            f"{self.num_filters:,} prunable filters (traced by {self.tracer})"
        ]
        if self.unprunable:
            lines.append("not pruned: " + ", ".join(self.unprunable))
        if self.unreached:
            lines.append("no output depends on: " + ", ".join(self.unreached))
        if self.frozen:
            lines.append("channels frozen by:")
            lines.extend(f"  {item}" for item in self.frozen)
        return "\n".join(lines)


@dataclass(frozen=True, eq=False, repr=False)
class PruningGraph:
    """Channels, operators and prunable filters of a network.

    Attributes:
        channels: The weighted graph.
        program: The traced network that it was built from.
        filters: The prunable convolution weights, in order of first use.
        edge_filter: For each edge the id of its filter, -1 for an unprunable edge. The filters of a
            weight that is used twice have two edges.
        allowed: For each filter: not pruned yet, by the masks found on the model.
        inputs: Nodes of the channels of the network's inputs.
        outputs: Nodes of the channels of its outputs.
        report: Tracer, frozen operations, counts.
    """

    channels: ChannelGraph
    program: Program
    filters: tuple[FilterBlock, ...]
    edge_filter: Int[np.ndarray, "edges"]
    allowed: Bool[np.ndarray, "filters"]
    inputs: Int[np.ndarray, "_"]
    outputs: Int[np.ndarray, "_"]
    report: GraphReport

    @classmethod
    def build(
        cls,
        program: Program,
        weigh: Weigher,
        ignored: Collection[str] = (),
        reduce: bool = True,
    ) -> PruningGraph:
        """Build the graph of a program.

        Args:
            program: The traced network.
            weigh: Gives the norms of an operation.
            ignored: Paths of modules whose convolutions are not pruned; what is inside them too.
            reduce: Fold batch norms and activations into the convolution that they alone read, and
                merge nodes that unprunable edges of weight 1 connect one to one. Selects the same
                filters as the full graph.

        Raises:
            ModelError: If nothing can be pruned.
            GraphError: If a norm is not finite.
        """
        prunable: dict[str, FilterBlock] = {}
        unprunable: dict[str, None] = {}
        offset = 0
        for operation in program.operations:
            if operation.kind not in ("convolution", "linear"):
                continue
            name = operation.parameters["weight"]
            fixed = operation.kind == "linear" or name in program.fixed
            if fixed or is_ignored(name, operation.module, ignored):
                unprunable[name] = None
            elif name not in prunable:
                rows, columns = program.tensors[name].shape[:2]
                prunable[name] = FilterBlock(name, (rows, columns), offset)
                offset += rows * columns
        for name in unprunable.keys() & prunable.keys():
            raise ModelError(
                f"{name} is used by an ignored layer and by one that is not: ignore both or none"
            )
        if offset == 0:
            raise ModelError(
                "nothing can be pruned: "
                + (
                    f"all that could be is ignored or linear ({', '.join(list(unprunable)[:3])})"
                    if unprunable
                    else "no convolution was found whose channels can be followed"
                )
                + (f"; frozen: {'; '.join(map(str, program.frozen[:3]))}" if program.frozen else "")
            )
        offsets = {name: block.offset for name, block in prunable.items()}
        builder = GraphBuilder(program, weigh, offsets, reduce)
        channels, edge_filter = builder.build()
        blocks = tuple(prunable.values())
        report = GraphReport(
            program.tracer,
            program.frozen,
            tuple(unprunable),
            program.unreached,
            channels.num_nodes,
            channels.num_edges,
            offset,
        )
        return cls(
            channels,
            program,
            blocks,
            edge_filter,
            _allowed(program, blocks, offset),
            builder.nodes_of("input"),
            builder.nodes_of("output"),
            report,
        )

    def __repr__(self) -> str:
        """One line, not the arrays."""
        return f"<PruningGraph: {str(self.report).splitlines()[0]}>"

    @property
    def num_nodes(self) -> int:
        """Number of channels in the graph."""
        return self.channels.num_nodes

    @property
    def num_edges(self) -> int:
        """Number of edges, unprunable ones too."""
        return self.channels.num_edges

    @property
    def num_filters(self) -> int:
        """Number of prunable filters of the unpruned network."""
        return int(self.allowed.size)

    def filter_order(self, edges: Int[np.ndarray, "_"]) -> Int[np.ndarray, "_"]:
        """Filters of edges in the order given, each where it appears first."""
        ids = self.edge_filter[edges]
        places = np.arange(ids.size, dtype=np.int32)
        first = np.empty(self.num_filters, dtype=np.int32)
        first[ids[::-1]] = places[::-1]  # of several writes to a place the last one stays
        return np.asarray(ids[first[ids] == places], dtype=np.int64)

    def matrices(self, kept: Bool[np.ndarray, "filters"]) -> dict[str, Bool[np.ndarray, "_ _"]]:
        """Split one flag a filter into a matrix of weight.shape[:2] for each weight (views)."""
        return {
            block.name: kept[block.offset : block.offset + block.count].reshape(block.shape)
            for block in self.filters
        }

    def flags(self, matrices: Mapping[str, Bool[np.ndarray, "_ _"]]) -> Bool[np.ndarray, "filters"]:
        """The inverse of `matrices`; other names are left out."""
        return np.concatenate([matrices[block.name].reshape(-1) for block in self.filters])


def is_ignored(name: str, module: str, ignored: Collection[str]) -> bool:
    """Whether a weight lies in an ignored module, by its own path or that of its caller."""
    paths = (name.rpartition(".")[0], module)
    return any(path == one or path.startswith(one + ".") for path in paths for one in ignored)


def _allowed(
    program: Program, blocks: tuple[FilterBlock, ...], count: int
) -> Bool[np.ndarray, "filters"]:
    allowed = np.ones(count, dtype=bool)
    for block in blocks:
        mask: Tensor | None = program.kept.get(block.name)
        if mask is not None:
            allowed[block.offset : block.offset + block.count] = mask.cpu().numpy().reshape(-1)
    return allowed
