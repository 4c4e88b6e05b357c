"""Places for a whole pruning graph (Figure 4.1 B): a node a channel, an edge an operator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from leanline.graph import PruningGraph
from leanline.report.graph_description import GraphDescription
from leanline.report.graph_layout import longest_path_layers

MOST_NODES, MOST_EDGES = 200, 1500
"""Larger graphs are drawn by operation: single channels could not be told apart."""

LAYER_WIDTH, NODE_HEIGHT, LEFT, RIGHT, HEADER, LEAST_WIDTH = 0.62, 0.3, 0.35, 1.1, 1.05, 7.0
"""Inches: between layers and between nodes, left, right and above them; of narrow drawings."""


@dataclass(frozen=True, eq=False)
class ChannelDrawing:
    """A channel graph with a place for each node.

    Attributes:
        title: what it is.
        counts: how large it is.
        width: of the drawing, in inches.
        height: of the drawing, in inches.
        floor: height of the lowest point of nodes and edges, under which the labels stand.
        x: place of each node from the left, in inches; by layers of longest paths.
        y: place of each node from below, in inches.
        inputs: which nodes are channels of the network's inputs.
        outputs: which are channels of its outputs.
        src: node that each drawn edge leaves; edges of norm 0 (pruned ones) are left out.
        dst: node that it enters.
        norm: its operator norm.
        prunable: whether it is a filter that may be pruned.
        chosen: whether it is to stand out: unprunable, or selected.
        bend: how far above (below, if negative) the straight line the middle of an edge is, in
            inches; 0 is a straight line.
        labels: places from the left, and what stands there below the nodes.
    """

    title: str
    counts: str
    width: float
    height: float
    floor: float
    x: Float[np.ndarray, "nodes"]
    y: Float[np.ndarray, "nodes"]
    inputs: Bool[np.ndarray, "nodes"]
    outputs: Bool[np.ndarray, "nodes"]
    src: Int[np.ndarray, "edges"]
    dst: Int[np.ndarray, "edges"]
    norm: Float[np.ndarray, "edges"]
    prunable: Bool[np.ndarray, "edges"]
    chosen: Bool[np.ndarray, "edges"]
    bend: Float[np.ndarray, "edges"]
    labels: tuple[tuple[float, str], ...]


def can_draw_channels(graph: PruningGraph) -> bool:
    """Whether the graph is small enough to be drawn channel by channel."""
    return graph.num_nodes <= MOST_NODES and graph.num_edges <= MOST_EDGES


def channel_drawing_data(
    graph: PruningGraph,
    description: GraphDescription,
    chosen: Bool[np.ndarray, "_"] | None = None,
) -> ChannelDrawing:
    """Lay a pruning graph out.

    Args:
        graph: the graph.
        description: what is known of it.
        chosen: for each edge of the graph, whether it is to stand out; by default all are.
    """
    edges = graph.channels.edges()
    there = np.isfinite(edges.log_weight)
    src, dst = edges.src[there].astype(np.int64), edges.dst[there].astype(np.int64)
    # laid out with the pruned edges, so that a network looks the same before and after
    layers = longest_path_layers(graph.channels.order, edges.src, edges.dst)
    layers -= layers.min()
    y = np.zeros(graph.num_nodes)
    for layer in np.unique(layers):
        members = np.flatnonzero(layers == layer)
        y[members] = np.arange(members.size)[::-1] - (members.size - 1) / 2
    prunable = edges.prunable[there]
    bend = _bends(layers, y, src, dst, prunable)
    labels = _labels(graph, layers)
    # from layers and numbers of nodes to inches
    middles = 0.5 * (y[src] + y[dst]) + bend
    top = float(max(y.max(), middles.max(initial=0.0)))
    bottom = float(min(y.min(), middles.min(initial=0.0)))
    footer = 0.25 + 0.056 * max(len(name) for name in labels.values())
    floor = footer + 0.15
    count = int(layers.max()) + 1
    width = max(LEAST_WIDTH, LEFT + LAYER_WIDTH * (count - 1) + RIGHT)
    step = (width - LEFT - RIGHT) / max(count - 1, 1)
    return ChannelDrawing(
        f"{description.network}: pruning graph",
        description.counts,
        width,
        floor + NODE_HEIGHT * (top - bottom) + HEADER,
        floor,
        LEFT + step * layers,
        floor + NODE_HEIGHT * (y - bottom),
        np.isin(np.arange(graph.num_nodes), graph.inputs),
        np.isin(np.arange(graph.num_nodes), graph.outputs),
        src,
        dst,
        np.exp(edges.log_weight[there].astype(np.float64)),
        prunable,
        np.ones(src.size, dtype=bool) if chosen is None else chosen[there] | ~prunable,
        NODE_HEIGHT * bend,
        tuple((LEFT + step * layer, name) for layer, name in sorted(labels.items())),
    )


def _bends(
    layers: Int[np.ndarray, "nodes"],
    y: Float[np.ndarray, "nodes"],
    src: Int[np.ndarray, "edges"],
    dst: Int[np.ndarray, "edges"],
    prunable: Bool[np.ndarray, "edges"],
) -> Float[np.ndarray, "edges"]:
    """Heights that carry each edge over the layers that it skips; unprunable ones go below."""
    tallest = [y[layers == layer].max(initial=0.0) for layer in range(int(layers.max()) + 1)]
    tall = max(tallest)
    bends = np.zeros(src.size)
    for edge, (source, target) in enumerate(zip(src, dst, strict=True)):
        span = int(layers[target] - layers[source])
        if span > 1:
            over = max(tallest[layers[source] + 1 : layers[target]])
            middle = 0.5 * (y[source] + y[target])
            side = 1.0 if prunable[edge] else -1.0
            # a quarter of their distance stays, so that neighbours do not meet in one point
            bends[edge] = side * (over + 0.35 + 0.4 * span**0.8 + 0.25 * tall) - 0.75 * middle
    return bends


def _labels(graph: PruningGraph, layers: Int[np.ndarray, "nodes"]) -> dict[int, str]:
    """The weights whose filters lead to each layer, and where the inputs and outputs are."""
    dst = graph.channels.edges().dst
    found: dict[int, list[str]] = {}

    def add(layer: int, name: str) -> None:
        if name not in found.setdefault(layer, []):
            found[layer].append(name)

    for node in graph.inputs.tolist():
        add(int(layers[node]), "input")
    ends = np.array([block.offset for block in graph.filters])
    own = np.flatnonzero(graph.edge_filter >= 0)
    blocks = np.searchsorted(ends, graph.edge_filter[own], side="right") - 1
    pairs = np.unique(np.stack([layers[dst[own]], blocks]), axis=1)
    for layer, block in pairs.T.tolist():
        add(layer, graph.filters[block].name.removesuffix(".weight"))
    for node in graph.outputs.tolist():
        add(int(layers[node]), "output")
    return {layer: ", ".join(names) for layer, names in found.items()}
