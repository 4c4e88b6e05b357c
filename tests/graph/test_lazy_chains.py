"""The lazy engine against the plain one: the same chains, edge for edge."""

from itertools import pairwise

import numpy as np
import pytest
from benchmarks.layer_graphs import Layers, unet4
from benchmarks.naive_chains import NaiveOrder

from leanline.graph import ChainOrder, ChannelGraph, EdgeBlock, longest_chains
from leanline.graph.channel_graph import log_weights


def random_blocks(seed: int, scale: float, ties: bool) -> ChannelGraph:
    """Dense blocks on neighbouring and scattered nodes, pairs, mixed flags, some nodes no end."""
    rng = np.random.default_rng(seed)
    layers = np.split(np.arange(90), np.sort(rng.choice(np.arange(1, 90), 5, replace=False)))
    blocks = []
    for index, own in enumerate(layers[1:], 1):
        for _ in range(int(rng.integers(1, 3))):
            before = layers[int(rng.integers(0, index))]
            if rng.random() < 0.3:
                before = np.concatenate(layers[:index])
            if rng.random() < 0.3:
                before = rng.permutation(before)[: max(1, before.size // 2)]
            own = rng.permutation(own) if rng.random() < 0.3 else own
            kind = rng.random()
            if kind < 0.2:
                src, dst = rng.choice(before, own.size), own
                shape: tuple[int, ...] = (own.size,)
            else:
                src, dst, shape = before, own, (own.size, before.size)
            weight = np.exp(rng.normal(np.log(scale), 0.6, shape))
            if ties:
                weight = rng.choice([0.25, 0.5, 1, 1, 2, 4], shape)
            weight[rng.random(shape) < 0.05] = 0
            flags = np.array(rng.random() < 0.7)
            if rng.random() < 0.2:
                flags = rng.random(shape) < 0.6
            if kind >= 0.9:
                weight, flags = np.minimum(weight, 1.5), np.array(False)
            blocks.append(
                EdgeBlock(src.astype(np.int32), dst.astype(np.int32), log_weights(weight), flags)
            )
    blocks.append(
        EdgeBlock(
            layers[0].astype(np.int32)[:1],
            layers[1].astype(np.int32)[:1],
            np.zeros((1, 1), np.float32),
            np.array(True),
        )
    )
    ends = rng.random(90) < 0.8 if rng.random() < 0.5 else np.ones(90, bool)
    return ChannelGraph.from_blocks(tuple(blocks), 90, ends)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("scale", [0.1, 0.5, 1.0, 1.5])
@pytest.mark.parametrize("seed", range(12))
def test_blocks_of_all_kinds(seed: int, scale: float, ties: bool) -> None:
    graph = random_blocks(seed, scale, ties)
    total = graph.num_prunable
    expected = NaiveOrder(graph).chains(total)
    order = ChainOrder(graph)
    found = order.chains(total)
    assert [c.tolist() for c in found] == [c.tolist() for c in expected]
    whole = order.order(total)
    prunable = graph.edges().prunable
    assert whole.tolist() == [e for chain in expected for e in chain if prunable[e]]
    rng = np.random.default_rng(seed)
    growing = ChainOrder(graph)
    for limit in np.sort(rng.integers(0, total + 1, 6)):
        flags = ChainOrder(graph).flags(int(limit))
        assert np.flatnonzero(flags).tolist() == sorted(whole[:limit].tolist())
        assert np.array_equal(growing.flags(int(limit)), flags)
        assert growing.order(int(limit)).tolist() == whole[:limit].tolist()


@pytest.mark.parametrize("regime", ["Kaiming", "normalised"])
def test_a_residual_network_chain_for_chain(regime: str) -> None:
    layers = Layers(regime, seed=1)
    x = layers.conv(layers.channels(3), 24)
    skip = x
    for _ in range(3):
        x = layers.add(x, layers.conv(layers.conv(x, 24), 24))
    x = layers.conv(np.concatenate([skip, layers.conv(x, 40, 1)]), 33, 1)
    graph = layers.graph()
    expected = NaiveOrder(graph).chains(graph.num_prunable)
    found = ChainOrder(graph).chains(graph.num_prunable)
    assert [c.tolist() for c in found] == [c.tolist() for c in expected]


def test_the_first_chains_of_a_wide_network() -> None:
    graph = unet4("normalised", width=64, seed=3)
    expected = NaiveOrder(graph).chains(60)
    count = int(graph.edges().prunable[np.concatenate(expected)].sum())
    found = ChainOrder(graph).chains(count)
    assert [c.tolist() for c in found] == [c.tolist() for c in expected]


@pytest.mark.parametrize("keep", [0.1, 0.35, 0.6, 0.9])
@pytest.mark.parametrize("seed", range(3))
def test_scaling_inside_a_chain_changes_nothing(seed: int, keep: float) -> None:
    """Section 4.4: a layer scaled by s and the next by 1/s are the same chain.

    Only chains that pass through the channel keep their length, one that begins or ends there does
    not; so chains are made to run from the first channels to the last.
    """
    rng = np.random.default_rng(seed)
    sizes = np.split(np.arange(60, dtype=np.int32), [10, 25, 40])
    ends = np.zeros(60, bool)
    ends[sizes[0]] = ends[sizes[-1]] = True
    logs = [
        log_weights(np.exp(rng.normal(0.3, 0.6, (dst.size, src.size))))
        for src, dst in pairwise(sizes)
    ]
    chosen = []
    for scale in (0.0, 3.0, -5.0):  # a float32 sum with a small integer loses a bit or two
        shifted = [log.astype(np.float64) for log in logs]
        shifted[0][4] += scale * np.log(2)
        shifted[1][:, 4] -= scale * np.log(2)
        shifted[1][7] -= scale * np.log(2)
        shifted[2][:, 7] += scale * np.log(2)
        blocks = tuple(
            EdgeBlock(src, dst, log.astype(np.float32), np.array(True))
            for (src, dst), log in zip(pairwise(sizes), shifted, strict=True)
        )
        order = ChainOrder(ChannelGraph.from_blocks(blocks, 60, ends))
        chosen.append(order.flags(round(keep * 300)).tolist())
    assert chosen[0] == chosen[1] == chosen[2]


@pytest.mark.parametrize("scale", [0.2, 1.0])
def test_every_keep_has_its_exact_count(scale: float) -> None:
    graph = random_blocks(5, scale, ties=True)
    prunable = graph.edges().prunable
    total = graph.num_prunable
    previous = np.zeros_like(prunable)
    for count in range(1, total + 1, total // 40):
        selection = longest_chains(graph, count / total)
        assert selection.count == count == (selection.kept & prunable).sum()
        assert selection.kept[~prunable].all() and not (previous & ~selection.kept).any()
        previous = selection.kept


def test_equal_weights_everywhere() -> None:
    nodes = np.split(np.arange(120, dtype=np.int32), 3)
    for value in (0.5, 1.0, 2.0):
        blocks = tuple(
            EdgeBlock(a, b, log_weights(np.full((40, 40), value)), np.array(True))
            for a, b in ((nodes[0], nodes[1]), (nodes[1], nodes[2]))
        )
        graph = ChannelGraph.from_blocks(blocks, 120)
        expected = NaiveOrder(graph).chains(3200)
        order = ChainOrder(graph)
        assert [c.tolist() for c in order.chains(3200)] == [c.tolist() for c in expected]
        assert np.flatnonzero(order.flags(1000)).tolist() == sorted(order.order(1000).tolist())
