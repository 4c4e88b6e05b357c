"""Chain selection against networkx, iterated, on random graphs."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leanline.errors import ConfigError, GraphError
from leanline.graph import ChainOrder, ChannelGraph, longest_chains


def random_graph(seed: int, scale: float, ties: bool = False) -> dict[str, np.ndarray]:
    """A random DAG on shuffled node ids, some of it disconnected, some edges unprunable or zero."""
    rng = np.random.default_rng(seed)
    nodes = int(rng.integers(2, 14))
    label = rng.permutation(nodes)
    pairs = [(i, j) for i in range(nodes) for j in range(i) if rng.random() < rng.uniform(0.1, 0.7)]
    pairs = pairs or [(1, 0)]
    order = rng.permutation(len(pairs))
    weight = np.exp(rng.normal(np.log(scale), 0.7, len(pairs)))
    if ties:
        weight = rng.choice([0.25, 0.5, 1.0, 2.0, 4.0], len(pairs))
    weight[rng.random(len(pairs)) < 0.05] = 0
    prunable = rng.random(len(pairs)) < 0.75
    prunable[0] = True
    return dict(
        src=label[[pairs[k][1] for k in order]],
        dst=label[[pairs[k][0] for k in order]],
        weight=weight,
        prunable=prunable,
        num_nodes=nodes,
    )


def iterate(edges: dict[str, np.ndarray]) -> list[tuple[float, list[int]]]:
    """The rule as it is written down, with networkx's shortest paths: (log length, prunable)."""
    graph = nx.DiGraph()
    with np.errstate(divide="ignore"):
        logs = np.log(edges["weight"].astype(np.float64)).astype(np.float32).astype(float)
    for node in range(edges["num_nodes"]):
        graph.add_edge("S", (node, 0), weight=0.0)
        graph.add_edge((node, 1), "T", weight=0.0)
    for edge in range(len(logs)):
        if logs[edge] == -np.inf:
            continue
        u, v = int(edges["src"][edge]), int(edges["dst"][edge])
        graph.add_edge((u, 1), (v, 1), weight=-logs[edge], edge=edge)
        state = 1 if edges["prunable"][edge] else 0
        graph.add_edge((u, 0), (v, state), weight=-logs[edge], edge=edge)
    found = []
    while nx.has_path(graph, "S", "T"):
        path = nx.bellman_ford_path(graph, "S", "T")
        own = [graph.edges[pair].get("edge") for pair in nx.utils.pairwise(path)]
        length = -sum(graph.edges[pair]["weight"] for pair in nx.utils.pairwise(path))
        own = [edge for edge in own if edge is not None and edges["prunable"][edge]]
        found.append((length, own))
        graph.remove_edges_from([p for p in graph.edges if graph.edges[p].get("edge") in own])
    return found


def length(edges: dict[str, np.ndarray], chain: np.ndarray) -> float:
    return float(np.log(edges["weight"][chain].astype(np.float64)).astype(np.float32).sum())


@pytest.mark.parametrize("scale", [0.15, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(130))
def test_same_chains_as_networkx(seed: int, scale: float) -> None:
    edges = random_graph(seed, scale)
    selection = longest_chains(ChannelGraph.from_edges(**edges), keep=1.0)
    expected = iterate(edges)
    chains = [chain for chain in selection.chains if (edges["weight"][chain] > 0).all()]
    assert len(chains) == len(expected)
    for chain, (total, own) in zip(chains, expected, strict=True):
        assert length(edges, chain) == pytest.approx(total, abs=1e-4)
        assert [e for e in chain if edges["prunable"][e]] == own


@pytest.mark.parametrize("seed", range(60))
def test_ties_have_the_same_lengths_and_repeat(seed: int) -> None:
    edges = random_graph(seed, 1.0, ties=True)
    graph = ChannelGraph.from_edges(**edges)
    chains = longest_chains(graph, keep=1.0).chains
    again = longest_chains(graph, keep=1.0).chains
    assert all(np.array_equal(a, b) for a, b in zip(chains, again, strict=True))
    # In a tie the remaining graphs may differ, so only the first chain has a unique length.
    total, _ = iterate(edges)[0] if iterate(edges) else (0.0, [])
    if (edges["weight"][chains[0]] > 0).all():
        assert length(edges, chains[0]) == pytest.approx(total, abs=1e-4)
    assert (
        sorted(e for c in chains for e in c if edges["prunable"][e])
        == np.flatnonzero(edges["prunable"]).tolist()
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.05, 3), st.floats(0.01, 1), st.booleans())
def test_invariants(seed: int, scale: float, keep: float, ties: bool) -> None:
    edges = random_graph(seed, scale, ties)
    graph = ChannelGraph.from_edges(**edges)
    total = int(edges["prunable"].sum())
    selection = longest_chains(graph, keep)
    count = max(1, round(keep * total))
    assert graph.num_prunable == total
    assert (selection.kept & edges["prunable"]).sum() == count == selection.count
    assert selection.kept[~edges["prunable"]].all()
    inside = [e for chain in selection.chains for e in chain if edges["prunable"][e]]
    assert sorted(inside) == np.flatnonzero(selection.kept & edges["prunable"]).tolist()
    for chain in selection.chains:
        assert (edges["dst"][chain[:-1]] == edges["src"][chain[1:]]).all()
    order = ChainOrder(graph)
    short = order.order(count // 2).tolist()
    everything = order.order(total + 5).tolist()
    assert short == everything[: count // 2]
    assert set(everything[:count]) == set(inside)
    assert sorted(everything) == np.flatnonzero(edges["prunable"]).tolist()
    zero = edges["weight"][everything] == 0
    assert (np.diff(zero.astype(int)) >= 0).all()


def test_the_lowest_source_then_the_lowest_end_wins_a_tie() -> None:
    graph = ChannelGraph.from_edges(
        src=np.array([2, 0, 0, 1]),
        dst=np.array([3, 5, 4, 3]),
        weight=np.full(4, 2.0),
        prunable=np.ones(4, dtype=bool),
        num_nodes=6,
    )
    assert [c.tolist() for c in longest_chains(graph, 1.0).chains] == [[2], [1], [3], [0]]
    weak = ChannelGraph.from_edges(
        src=np.array([2, 0, 0, 1]),
        dst=np.array([3, 5, 4, 3]),
        weight=np.full(4, 0.5),
        prunable=np.ones(4, dtype=bool),
        num_nodes=6,
    )
    assert [c.tolist() for c in longest_chains(weak, 1.0).chains] == [[2], [1], [3], [0]]


def test_unprunable_edges_stay_and_serve_many_chains() -> None:
    # 0 -a-> 1 -u-> 2, 3 -b-> 1: the residual edge u of weight 3 follows both filters.
    graph = ChannelGraph.from_edges(
        src=np.array([0, 1, 3]),
        dst=np.array([1, 2, 1]),
        weight=np.array([2.0, 3.0, 1.5]),
        prunable=np.array([True, False, True]),
        num_nodes=4,
    )
    assert [c.tolist() for c in longest_chains(graph, 1.0).chains] == [[0, 1], [2, 1]]


def test_bad_graphs() -> None:
    def build(**change: object) -> ChannelGraph:
        edges = dict(src=[0, 1], dst=[1, 2], weight=[1.0, 2.0], prunable=[True, True])
        return ChannelGraph.from_edges(
            **{k: np.array(change.get(k, v)) for k, v in edges.items()},
            num_nodes=change.get("num_nodes", 3),
        )

    assert build().num_edges == 2
    with pytest.raises(GraphError, match="cycle: 2 of 3"):
        build(dst=[1, 0])
    with pytest.raises(GraphError, match="cycle"):
        build(dst=[0, 2])
    with pytest.raises(GraphError, match="edge 1 is nan"):
        build(weight=[1.0, np.nan])
    with pytest.raises(GraphError, match=r"edge 0 is -1\.0"):
        build(weight=[-1.0, 1.0])
    with pytest.raises(GraphError, match="edge 0 is inf"):
        build(weight=[np.inf, 1.0])
    with pytest.raises(GraphError, match="edge 1 has dst 7: nodes are 0 to 2"):
        build(dst=[1, 7])
    with pytest.raises(GraphError, match="edge 0 has src -1"):
        build(src=[-1, 0])
    with pytest.raises(GraphError, match="one entry an edge"):
        build(weight=[1.0])
    for keep in (0.0, -1.0, 1.5, float("nan")):
        with pytest.raises(ConfigError, match="keep is"):
            longest_chains(build(), keep)
    with pytest.raises(ConfigError, match="no prunable edges"):
        longest_chains(build(prunable=[False, False]), 0.5)
