"""Every kind of network: traced, followed, selected, cleaned; liveness against what it computes."""

import copy

import networkx as nx
import pytest
import torch
from torch import nn

from leanline.graph import fewest_filters, trace_program
from leanline.masks import apply_masks
from leanline.pruning import Lean, Magnitude, OperatorNorm, clean, select, trace
from networks import NETWORKS, make
from soundness import check_reach, check_zeros, leaves

# What no rule can follow; everything else must not be frozen at all.
FROZEN = {
    "attention": 2,
    "standardised weight": 1,
    "data dependent": 1,
    "index by data": 2,
    "weights that are read twice": 2,
    "fixed filters": 1,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_operation_is_followed(name: str) -> None:
    model, inputs = make(name)
    before = copy.deepcopy(inputs)
    report = trace(model, inputs).report
    assert all(map(torch.equal, leaves(inputs), leaves(before)))
    assert len(report.frozen) == FROZEN.get(name, 0), str(report)
    assert report.tracer == ("recorder" if name == "data dependent" else "torch.export")
    weights = {path for path, value in model.named_parameters() if value.ndim > 2}
    text = str(report)
    for path in weights:
        layer = path.rpartition(".")[0].removesuffix(".parametrizations.weight")
        known = {block.name for block in trace(model, inputs).filters}
        assert f"{layer}.weight" in known or layer in text, path


@pytest.mark.parametrize("name", NETWORKS)
def test_dead_channels_are_zero_and_unread_filters_change_nothing(name: str) -> None:
    model, inputs = make(name)
    graph, checked = trace(model, inputs), 0
    for seed, keep in enumerate((0.15, 0.4, 0.7)):
        generator = torch.Generator().manual_seed(seed)
        masks = {
            block.name: torch.rand(block.shape, generator=generator) < keep
            for block in graph.filters
        }
        check_reach(model, inputs, masks)
        pruned = copy.deepcopy(model)
        apply_masks(pruned, masks)
        clean(pruned, inputs)
        checked += check_zeros(pruned, inputs)
        assert clean(pruned, inputs).total == 0
    assert checked > 0  # some channels did die


@pytest.mark.parametrize("name", NETWORKS)
def test_selection_and_cleaning(name: str) -> None:
    original, inputs = make(name)
    before = copy.deepcopy(original.state_dict())
    total = trace(original, inputs).num_filters
    for criterion in (Lean(), Magnitude(), OperatorNorm()):
        model = copy.deepcopy(original)
        masks = select(model, inputs, keep=0.4, criterion=criterion)
        for key, value in model.state_dict().items():
            assert torch.equal(value, before[key])
        apply_masks(model, masks)
        live = clean(model, inputs).live_filters
        assert live == sum(int(mask.sum()) for mask in masks.values())
        assert live >= 0.4 * total - 1
        with torch.no_grad():
            for output in leaves(model(*inputs)):
                assert bool(torch.isfinite(output).all())


@pytest.mark.parametrize("name", NETWORKS)
def test_reduced_and_full_graphs_agree(name: str) -> None:
    model, inputs = make(name)
    small, full = trace(model, inputs), trace(model, inputs, reduce=False)
    assert small.num_nodes <= full.num_nodes
    limit = small.num_filters
    orders = [Lean().order(graph, graph.program.tensors, limit) for graph in (small, full)]
    assert orders[0].tolist() == orders[1].tolist()


def test_frozen_operations_are_named_with_place_and_reason() -> None:
    model, inputs = make("attention")
    frozen = trace_program(model, inputs).frozen
    assert {item.operator for item in frozen} == {"matmul"}
    assert all(item.source.startswith("networks.py:") for item in frozen)
    assert all("channels" in item.reason for item in frozen)


@pytest.mark.parametrize("name", NETWORKS)
def test_fewest_filters_on_a_path(name: str) -> None:
    model, inputs = make(name)
    graph = trace(model, inputs)
    edges = graph.channels.edges()
    paths = nx.DiGraph()
    paths.add_nodes_from(range(graph.num_nodes))
    for src, dst, prunable in zip(edges.src, edges.dst, edges.prunable, strict=True):
        cost = min(int(prunable), paths.edges[src, dst]["cost"] if paths.has_edge(src, dst) else 1)
        paths.add_edge(int(src), int(dst), cost=cost)
    lengths = nx.multi_source_dijkstra_path_length(paths, set(graph.inputs.tolist()), weight="cost")
    expected = min(lengths[node] for node in graph.outputs.tolist() if node in lengths)
    prunable = {block.name for block in graph.filters}
    assert fewest_filters(graph.program, {}, prunable) == expected


def test_what_a_network_may_learn_does_not_count_as_zero() -> None:
    """A trace of a network at its initial values must hold after training too."""

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.out = nn.Conv2d(1, 3, 1, bias=False), nn.Conv2d(3, 1, 1)
            self.shift = nn.Parameter(torch.zeros(1, 3, 1, 1))
            self.token = nn.Parameter(torch.zeros(1, 1, 4, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(self.a(torch.maximum(x, self.token)) + self.shift)

    program = trace_program(Scaled(), torch.zeros(1, 1, 4, 4))
    kinds = [operation.kind for operation in program.operations]
    assert "zeros" not in kinds
    assert kinds.count("shift") == 2
