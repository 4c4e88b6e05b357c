"""What every pruning rule must satisfy."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leanline.graph import PruningGraph
from leanline.masks import apply_masks, get_masks
from leanline.pruning import (
    CRITERIA,
    Criterion,
    GeometricMedian,
    Lean,
    Magnitude,
    OperatorNorm,
    Random,
    Schedule,
    SoftFilter,
    clean,
    make_criterion,
    prune,
    trace,
)
from leanline.pruning.select import choose

RULES: list[Criterion] = [
    Lean(),
    Magnitude(),
    Magnitude(scope="layer"),
    OperatorNorm(),
    OperatorNorm(scope="layer"),
    GeometricMedian(),
    SoftFilter(periods=2),
    Random(seed=3),
    Random(seed=3, scope="layer"),
]
LAYER_WISE = [
    rule
    for rule in RULES
    if isinstance(rule, GeometricMedian | SoftFilter) or getattr(rule, "scope", "") == "layer"
]
IMAGE = torch.zeros(1, 2, 12, 12)


class Scales(nn.Module):
    """Two scales with batch norm, a skip and a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm = nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.b = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.c = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2)
        self.head = nn.Conv2d(12, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm(self.a(x)))
        y = torch.relu(y + self.b(y))
        return self.head(torch.cat([y, torch.relu(self.up(torch.relu(self.c(y))))], 1))


class Grouped(nn.Module):
    """Grouped, depthwise and grouped transposed convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(2, 8, 3, padding=1)
        self.b = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.c = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2, groups=2)
        self.head = nn.Conv2d(12, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.b(torch.relu(self.a(x))))
        return self.head(torch.cat([y, torch.relu(self.up(torch.relu(self.c(y))))], 1))


class Shared(nn.Module):
    """One layer used twice, and a weight used by two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.twice = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.b, self.head = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 2, 1)
        self.c = nn.Conv2d(6, 6, 3, padding=1)
        self.c.weight = self.b.weight

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.twice(F.relu(self.twice(F.relu(self.a(x))))))
        return self.head(F.relu(self.c(F.relu(self.b(y)))))


NETWORKS: Mapping[str, Callable[[], nn.Module]] = {
    "scales": Scales,
    "grouped": Grouped,
    "shared": Shared,
}


def make(kind: str, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return NETWORKS[kind]()


@functools.cache
def graph_of(kind: str) -> PruningGraph:
    return trace(make(kind), IMAGE)


def shrink(model: nn.Module) -> dict[str, float]:
    """Retraining: some change of all parameters, also of those that are zero."""
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            generator = torch.Generator().manual_seed(number)
            parameter.mul_(0.9).add_(0.01 * torch.randn(parameter.shape, generator=generator))
    return {"norm": sum(float(p.detach().norm()) for p in model.parameters())}


pytestmark = pytest.mark.parametrize("rule", RULES, ids=str)


@pytest.mark.parametrize("kind", NETWORKS)
def test_orders_are_prefixes_and_hold_every_filter_once(rule: Criterion, kind: str) -> None:
    graph = graph_of(kind)
    whole = rule.order(graph, graph.program.tensors, graph.num_filters)
    assert sorted(whole.tolist()) == list(range(graph.num_filters))
    for limit in (0, 1, 10, graph.num_filters - 1):
        part = rule.order(graph, graph.program.tensors, limit)
        assert part.tolist() == whole[:limit].tolist()


def test_the_same_network_is_ranked_the_same(rule: Criterion) -> None:
    orders = []
    for graph in (graph_of("scales"), trace(make("scales"), IMAGE)):
        torch.manual_seed(len(orders))  # must not matter
        orders.append(rule.order(graph, graph.program.tensors, graph.num_filters).tolist())
    assert orders[0] == orders[1]


@pytest.mark.parametrize("kind", NETWORKS)
def test_selections_are_alive_and_near_the_count(rule: Criterion, kind: str) -> None:
    model, graph = make(kind), graph_of(kind)
    for keep in (0.7, 0.4, 0.2):
        kept = sum(int(mask.sum()) for mask in choose(graph, keep, rule).values())
        # to within one per cent, or the cascade of one channel of these small networks
        target = round(keep * graph.num_filters)
        assert 0 <= kept - target <= max(0.01 * target, 8)
    apply_masks(model, {k: torch.from_numpy(m) for k, m in choose(graph, keep, rule).items()})
    assert clean(model, IMAGE).total == 0


@pytest.mark.parametrize("kind", NETWORKS)
def test_raw_selections_have_the_exact_count(rule: Criterion, kind: str) -> None:
    graph = graph_of(kind)
    masks = choose(graph, 0.9, rule, refill=False)
    assert sum(int(mask.sum()) for mask in masks.values()) == round(0.9 * graph.num_filters)


@pytest.mark.parametrize("kind", ["grouped", "scales"])
def test_stages_leave_a_network_that_stays_pruned(rule: Criterion, kind: str) -> None:
    model, before = make(kind), None
    total = graph_of(kind).num_filters
    for stage in prune(model, IMAGE, shrink, rule, Schedule(0.25, 2)):
        assert 0 <= stage.kept_filters - round(stage.keep * total) <= 8
        assert "norm" in stage.metrics
        masks = get_masks(model)
        assert sum(int(mask.sum()) for mask in masks.values()) == stage.kept_filters
        if before is not None:
            assert all(bool((before[name] | ~masks[name]).all()) for name in masks)
        before = masks
        slots = dict(model.named_modules())
        for name, mask in masks.items():
            weight = slots[name.rpartition(".")[0]].weight
            assert bool((weight.detach()[~mask] == 0).all())
        with torch.no_grad():
            assert bool(model.eval()(torch.randn(2, 2, 12, 12)).isfinite().all())


def test_layer_wise_rules_keep_the_same_fraction_of_every_layer(rule: Criterion) -> None:
    if rule not in LAYER_WISE:
        pytest.skip("compares all filters of the network")
    graph = graph_of("scales")
    whole = rule.order(graph, graph.program.tensors, graph.num_filters)
    for count in range(1, graph.num_filters + 1, 7):
        flags = np.zeros(graph.num_filters, dtype=bool)
        flags[whole[:count]] = True
        fractions = [m.mean() for m in graph.matrices(flags).values()]
        largest_unit = max(1 / min(m.shape) for m in graph.matrices(flags).values())
        assert max(fractions) - min(fractions) <= largest_unit + 1e-9


def test_names_make_rules(rule: Criterion) -> None:
    named = {type(make_criterion(name)) for name in CRITERIA}
    assert type(rule) in named
