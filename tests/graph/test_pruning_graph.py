"""Pruning graphs of small networks against graphs written down by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from leanline.errors import ConfigError, GraphError, ModelError
from leanline.graph import (
    Operation,
    Program,
    PruningGraph,
    longest_chains,
    resolve_ignored,
    strongest_path,
    trace_program,
)


def first_entry(program: Program, operation: Operation) -> np.ndarray:
    """A stand-in for operator norms: easy to see, different for every filter."""
    own = {role: program.tensors[name] for role, name in operation.parameters.items()}
    if operation.kind in ("convolution", "linear"):
        return own["weight"].abs().double().flatten(2).sum(-1).numpy()
    if operation.kind == "batch_norm":
        scale = own["running_var"].double().add(operation.settings["eps"]).rsqrt()
        return (scale * own["weight"].abs()).numpy()
    return np.array(operation.settings.get("lipschitz", 0.5))


def build(model: nn.Module, image: Tensor, **change: object) -> PruningGraph:
    return PruningGraph.build(trace_program(model, image), first_entry, **change)


def seeded(build_model, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_model()
        for part in model.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_var.uniform_(0.05, 4)
                nn.init.uniform_(part.weight, 0.2, 2)
            elif isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(part.weight, std=0.25)
        return model


class Dense(nn.Module):
    """A mixed-scale dense network of width 1."""

    def __init__(self, depth: int, classes: int = 2) -> None:
        super().__init__()
        self.leanline_ignore = ("final",)
        self.convs = nn.ModuleList(nn.Conv2d(i + 1, 1, 3, padding=1) for i in range(depth))
        self.final = nn.Conv2d(depth + 1, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.convs:
            x = torch.cat([x, torch.relu(layer(x))], 1)
        return self.final(x)


class Mixed(nn.Module):
    """Batch norm that folds and that does not, a residual, two scales, groups, a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm0 = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.a, self.norm1 = nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.BatchNorm2d(4)
        self.down = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.deep, self.norm2 = nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.BatchNorm2d(6)
        self.up = nn.ConvTranspose2d(6, 4, 2, stride=2)
        self.norm3 = nn.BatchNorm2d(8)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.silu(self.norm0(self.stem(x)))
        y = torch.relu(y + self.norm1(self.a(y)))
        z = nn.functional.gelu(self.norm2(self.deep(self.down(y))))
        z = torch.cat([y, self.up(nn.functional.avg_pool2d(z, 1))], 1)
        return self.head(torch.relu(self.norm3(z)))


@pytest.mark.parametrize("depth, filters", [(50, 1275), (100, 5050), (3, 6)])
def test_mixed_scale_dense_counts(depth: int, filters: int) -> None:
    model = Dense(depth)
    image = torch.zeros(1, 1, 4, 4)
    graph = build(model, image, ignored=resolve_ignored(model))
    assert graph.num_filters == filters == graph.channels.num_prunable
    assert graph.num_nodes == 1 + depth + 2
    assert graph.num_edges == filters + 2 * (depth + 1)
    assert graph.report.unprunable == ("final.weight",)
    assert "final.weight" in str(graph.report) and f"{filters:,}" in str(graph.report)
    full = build(model, image, ignored=resolve_ignored(model), reduce=False)
    assert full.num_filters == filters and full.num_nodes > graph.num_nodes


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("keep", [0.05, 0.3, 0.8])
def test_the_reduced_graph_selects_what_the_full_one_does(seed: int, keep: float) -> None:
    model, image = seeded(Mixed, seed), torch.zeros(1, 2, 8, 8)
    chosen = []
    for reduce in (True, False):
        graph = build(model, image, reduce=reduce)
        selection = longest_chains(graph, keep)
        edges = np.flatnonzero(selection.kept & (graph.edge_filter >= 0))
        chosen.append(sorted(graph.edge_filter[edges].tolist()))
    assert chosen[0] == chosen[1]


def test_edges_are_the_filters_between_the_right_channels() -> None:
    model = seeded(Mixed)
    graph = build(model, torch.zeros(1, 2, 8, 8), reduce=False)
    edges = graph.channels.edges()
    steps = {step.module: step for step in graph.program.operations if step.kind == "convolution"}
    offsets = {block.name: block for block in graph.filters}
    # Touch one input channel: exactly the outputs that its filters lead to may change.
    for name, step in steps.items():
        layer, block = model.get_submodule(name), offsets[f"{name}.weight"]
        own = (graph.edge_filter >= block.offset) & (graph.edge_filter < block.offset + block.count)
        assert own.sum() == block.count
        inputs, outputs = np.unique(edges.src[own]), np.unique(edges.dst[own])
        assert outputs.size == step.channels
        for channel in range(inputs.size):
            image = torch.zeros(1, inputs.size, 4, 4)
            image[:, channel] = 1
            with torch.no_grad():
                change = (layer(image) - layer(image * 0)).abs().amax((0, 2, 3)) > 1e-7
            reached = edges.dst[own & (edges.src == inputs[channel])]
            expected = outputs[change.numpy()]
            assert sorted(reached.tolist()) == expected.tolist()
        weight = first_entry(graph.program, step).reshape(-1)
        found = np.exp(edges.log_weight[own])[np.argsort(graph.edge_filter[own])]
        np.testing.assert_allclose(found, weight, rtol=1e-5)


def test_transposed_filters_keep_their_layout() -> None:
    model = seeded(lambda: nn.Sequential(nn.ConvTranspose2d(2, 3, 2)))
    graph = build(model, torch.zeros(1, 2, 4, 4))
    edges = graph.channels.edges()
    rows = model[0].weight.detach().abs().sum((2, 3)).numpy()
    for edge in range(6):
        i, j = edges.src[edge] - edges.src.min(), edges.dst[edge] - edges.dst.min()
        assert graph.edge_filter[edge] == 3 * i + j
        assert np.exp(edges.log_weight[edge]) == pytest.approx(rows[i, j], rel=1e-5)


def test_batch_norm_and_activation_fold_only_where_they_alone_read() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.norm, self.b = nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.a(x)
            return self.b(y + self.norm(y))

    alone = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.GELU(), nn.Conv2d(2, 1, 1))
    image = torch.zeros(1, 1, 4, 4)
    assert build(alone, image).num_nodes == 1 + 2 + 1
    assert build(Twice(), image).num_nodes == 1 + 2 + 2 + 2 + 1


def test_opaque_operations_connect_all_channels() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 1), nn.Softmax(1), nn.Conv2d(3, 1, 1))
    graph = build(model, torch.zeros(1, 1, 4, 4))
    assert [(item.operator, item.module) for item in graph.report.frozen] == [("softmax", "1")]
    assert graph.num_filters == 6
    assert graph.num_edges == 6 + 3 + 3  # through one node in the middle
    assert "softmax" in str(graph.report)


def test_shared_weights_are_one_filter() -> None:
    layer = nn.Conv2d(2, 2, 1, bias=False)
    graph = build(nn.Sequential(layer, nn.ReLU(), layer), torch.zeros(1, 2, 4, 4))
    assert graph.num_filters == 4 and graph.channels.num_prunable == 8
    order = graph.filter_order(np.flatnonzero(graph.edge_filter >= 0))
    assert sorted(order.tolist()) == [0, 1, 2, 3]


def test_strongest_path_runs_from_an_input_to_an_output() -> None:
    model = seeded(Mixed)
    graph = build(model, torch.zeros(1, 2, 8, 8))
    path, edges = strongest_path(graph), graph.channels.edges()
    assert edges.src[path[0]] in graph.inputs and edges.dst[path[-1]] in graph.outputs
    assert (edges.dst[path[:-1]] == edges.src[path[1:]]).all()
    with torch.no_grad():
        model.head.weight.zero_()
    assert strongest_path(build(model, torch.zeros(1, 2, 8, 8))).size == 0


def test_ignored_modules() -> None:
    model = nn.Sequential(nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 1)), nn.Conv2d(2, 1, 1))
    image = torch.zeros(1, 1, 4, 4)
    for entry in ("0", "0.*", model[0]):
        graph = build(model, image, ignored=resolve_ignored(model, (entry,)))
        assert [block.name for block in graph.filters] == ["1.weight"]
    assert resolve_ignored(Dense(2)) == {"final"}
    with pytest.raises(ConfigError, match=r"'backbone', which matches no module"):
        resolve_ignored(model, ("backbone",))
    with pytest.raises(ConfigError, match=r"did you mean '0\.1'"):
        resolve_ignored(model, ("0.11",))
    with pytest.raises(ConfigError, match="Conv2d that is no part"):
        resolve_ignored(model, (nn.Conv2d(1, 1, 1),))
    with pytest.raises(ModelError, match=r"nothing can be pruned: .* is ignored or linear"):
        build(model, image, ignored=resolve_ignored(model, ("*",)))


def test_nothing_to_prune_and_bad_norms() -> None:
    with pytest.raises(ModelError, match="nothing can be pruned: no convolution"):
        build(nn.Sequential(nn.ReLU()), torch.zeros(1, 1, 4, 4))
    program = trace_program(nn.Conv2d(1, 1, 1), torch.zeros(1, 1, 4, 4))
    with pytest.raises(GraphError, match="nan"):
        PruningGraph.build(program, lambda p, o: np.full((1, 1), np.nan))
