"""Liveness against two oracles: paths in networkx, and outputs that must not change."""

import functools

import networkx as nx
import numpy as np
import pytest
import torch
from torch import nn

from leanline.graph import Liveness, Program, find_live, trace_program


class Net(nn.Module):
    """Branches, a residual, concatenation, groups, a transposed convolution, batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.b = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.c = nn.ConvTranspose2d(8, 4, 2, stride=2, groups=2)
        self.d = nn.Conv2d(4, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.norm(self.a(x)))
        z = y + self.b(y)
        return self.d(torch.relu(self.c(torch.cat([y, z], 1))))


def network(seed: int) -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Net()


def random_masks(program: Program, seed: int, share: float) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: rng.random(tuple(program.tensors[name].shape[:2])) < share
        for name in ("a.weight", "b.weight", "c.weight", "d.weight")
    }


def oracle(masks: dict[str, np.ndarray]) -> tuple[nx.DiGraph, dict[str, np.ndarray]]:
    """The same network's channels written down by hand."""
    graph = nx.DiGraph()
    edges: dict[tuple[str, int, int], tuple[object, object]] = {}
    for i in range(4):
        for j in range(2):
            edges["a.weight", i, j] = (("x", j), ("y", i))
        for j in range(2):
            edges["b.weight", i, j] = (("y", 2 * (i // 2) + j), ("z", i))
        graph.add_edge(("y", i), ("z", i))
    for i in range(8):  # channels of cat: y, then z
        source = ("y", i) if i < 4 else ("z", i - 4)
        for j in range(2):
            edges["c.weight", i, j] = (source, ("u", 2 * (i // 4) + j))
    for i in range(3):
        for j in range(4):
            edges["d.weight", i, j] = (("u", j), ("out", i))
    for (name, i, j), (left, right) in edges.items():
        graph.add_nodes_from([left, right])
        if masks[name][i, j]:
            graph.add_edge(left, right)
    graph.add_edges_from(("IN", ("x", j)) for j in range(2))
    graph.add_edges_from((("out", i), "OUT") for i in range(3))
    on_path = nx.descendants(graph, "IN") & nx.ancestors(graph, "OUT")
    live = {name: np.zeros_like(mask) for name, mask in masks.items()}
    for (name, i, j), (left, right) in edges.items():
        live[name][i, j] = masks[name][i, j] and left in on_path and right in on_path
    return graph, live


@functools.cache
def traced_once() -> Program:
    return trace_program(network(0), torch.zeros(1, 2, 6, 6))


@pytest.mark.parametrize("seed", range(30))
def test_filters_are_those_on_paths(seed: int) -> None:
    program = traced_once()
    masks = random_masks(program, seed, (0.2, 0.4, 0.7)[seed % 3])
    _, expected = oracle(masks)
    found = find_live(program, masks, untouched=())
    for name, live in expected.items():
        np.testing.assert_array_equal(found.filters[name], live)


def live_of(model: nn.Module, image: torch.Tensor) -> tuple[Program, Liveness]:
    program = trace_program(model, image)
    return program, find_live(program)


def test_dead_by_running_variance() -> None:
    model = network(0)
    with torch.no_grad():
        model.norm.running_var[2] = 0
    _, live = live_of(model, torch.zeros(1, 2, 6, 6))
    assert not live.filters["a.weight"][2].any()
    assert live.filters["a.weight"][[0, 1, 3]].all()
    assert not live.filters["b.weight"][2:, 0].any()


def test_opaque_operations_keep_what_is_fed() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 1), nn.Softmax(1), nn.Conv2d(3, 1, 1))
    program = trace_program(model, torch.zeros(1, 1, 4, 4))
    kept = {
        "0.weight": np.array([[True], [False], [True]]),
        "2.weight": np.array([[False, True, False]]),
    }
    live = find_live(program, kept)
    np.testing.assert_array_equal(live.filters["0.weight"][:, 0], [True, False, True])
    np.testing.assert_array_equal(live.filters["2.weight"], kept["2.weight"])
    nothing = find_live(program, {"2.weight": np.zeros((1, 3), dtype=bool)})
    assert not nothing.filters["0.weight"].any()


def test_unused_buffer_channels_are_dead() -> None:
    class Buffered(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(3, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            buffer = x.new_zeros(1, 3, 4, 4)
            buffer[:, :1] = x
            return self.a(buffer)

    _, live = live_of(Buffered(), torch.ones(1, 1, 4, 4))
    np.testing.assert_array_equal(live.filters["a.weight"], [[True, False, False]] * 2)


def test_untouched_biases_feed() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 1))
    program = trace_program(model, torch.zeros(1, 1, 4, 4))
    kept = {"0.weight": np.zeros((2, 1), dtype=bool)}
    assert not find_live(program, kept, untouched=()).filters["1.weight"].any()
    live = find_live(program, kept, untouched={"0.weight"})
    assert live.fed[1].all()
    assert not live.rooted[1].any()
    assert not live.filters["1.weight"].any()  # it only passes a constant on
