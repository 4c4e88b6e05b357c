"""Selection: counts, liveness, criteria, masks that are there already."""

import copy
import logging

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from leanline.errors import ConfigError, ModelError
from leanline.masks import apply_masks, get_masks
from leanline.models import MSD
from leanline.pruning import Criterion, Lean, Magnitude, OperatorNorm, clean, select, summary, trace


class Dense(nn.Module):
    """A mixed-scale dense network of width 1."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.leanline_ignore = ("final",)
        self.convs = nn.ModuleList(
            nn.Conv2d(i + 1, 1, 3, padding=1 + i % 3, dilation=1 + i % 3) for i in range(depth)
        )
        self.final = nn.Conv2d(depth + 1, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.convs:
            x = torch.cat([x, torch.relu(layer(x))], 1)
        return self.final(x)


class Encoder(nn.Module):
    """Two scales with batch norm, a skip and a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm_a = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.b, self.norm_b = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.c = nn.Conv2d(6, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2)
        self.head = nn.Conv2d(12, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm_a(self.a(x)))
        y = torch.relu(y + self.norm_b(self.b(y)))
        z = torch.relu(self.c(nn.functional.max_pool2d(y, 2)))
        return self.head(torch.cat([y, self.up(z)], 1))


def make(kind: type[nn.Module], *arguments: int, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kind(*arguments)


IMAGE = torch.zeros(1, 1, 12, 12)
CRITERIA = [Lean(), Magnitude(), OperatorNorm()]


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("network, keep", [("dense", 0.05), ("encoder", 0.2), ("encoder", 1.0)])
def test_refilled_masks_are_alive_and_reach_the_count(
    criterion: Criterion, network: str, keep: float
) -> None:
    model = make(Dense, 12) if network == "dense" else make(Encoder)
    masks = select(model, IMAGE, keep, criterion)
    kept = sum(int(mask.sum()) for mask in masks.values())
    total = sum(mask.numel() for mask in masks.values())
    assert kept >= max(1, round(keep * total))
    apply_masks(model, masks)
    assert clean(model, IMAGE).total == 0
    assert summary(model, IMAGE).filters.after == kept


@pytest.mark.parametrize("criterion", CRITERIA)
def test_refilling_takes_the_smallest_prefix(criterion: Criterion) -> None:
    model = make(Dense, 12, seed=3)
    target = round(0.2 * 78)
    masks = select(model, IMAGE, 0.2, criterion)
    graph = trace(model, IMAGE)
    order = criterion.order(graph, graph.program.tensors, graph.num_filters)
    for count in range(1, graph.num_filters + 1):
        flags = np.zeros(graph.num_filters, dtype=bool)
        flags[order[:count]] = True
        live = live_by_networkx(graph.matrices(flags))
        if sum(int(mask.sum()) for mask in live.values()) >= target:
            break
    assert all(np.array_equal(masks[name].numpy(), live[name]) for name in masks)


def live_by_networkx(masks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Filters of a Dense net on a path from the input; each channel reaches the output."""
    paths = nx.DiGraph()
    paths.add_node(0)
    for name, mask in masks.items():
        layer = int(name.split(".")[1])
        paths.add_edges_from((int(j), layer + 1) for j in np.flatnonzero(mask[0]))
    fed = {0} | nx.descendants(paths, 0)
    return {
        name: mask & np.array([[j in fed for j in range(mask.shape[1])]])
        for name, mask in masks.items()
    }


@pytest.mark.parametrize("criterion", CRITERIA)
def test_raw_selection_has_the_exact_count(criterion: Criterion) -> None:
    model = make(Dense, 12)
    masks = select(model, IMAGE, 0.3, criterion, refill=False)
    assert sum(int(mask.sum()) for mask in masks.values()) == round(0.3 * 78)
    assert {name: tuple(mask.shape) for name, mask in masks.items()} == {
        f"convs.{i}.weight": (1, i + 1) for i in range(12)
    }


def test_magnitude_and_operator_norm_orders() -> None:
    model = make(Dense, 6)
    masks = select(model, IMAGE, 0.5, Magnitude(), refill=False)
    scores = {
        (name, j): float(model.get_parameter(name)[0, j].detach().abs().sum())
        for name, mask in masks.items()
        for j in range(mask.shape[1])
    }
    best = sorted(scores, key=lambda key: -scores[key])[: round(0.5 * 21)]
    assert {(n, j) for n, mask in masks.items() for j in np.flatnonzero(mask[0])} == set(best)
    graph = trace(model, IMAGE)
    order = OperatorNorm().order(graph, graph.program.tensors, 21)
    weights = np.empty(21)
    weights[graph.edge_filter[graph.edge_filter >= 0]] = graph.channels.edges().log_weight[
        graph.edge_filter >= 0
    ]
    assert (np.diff(weights[order]) <= 0).all()


@pytest.mark.parametrize("criterion", CRITERIA)
def test_orders_are_prefixes(criterion: Criterion) -> None:
    graph = trace(make(Encoder), IMAGE)
    whole = criterion.order(graph, graph.program.tensors, graph.num_filters)
    assert sorted(whole.tolist()) == list(range(graph.num_filters))
    for limit in (1, 10, 50):
        assert (
            criterion.order(graph, graph.program.tensors, limit).tolist() == whole[:limit].tolist()
        )


@pytest.mark.parametrize("criterion", CRITERIA)
def test_pruned_filters_stay_pruned_and_counts_are_against_all(criterion: Criterion) -> None:
    model = make(Encoder)
    total = trace(model, IMAGE).num_filters
    before = None
    for keep in (0.6, 0.3, 0.1):
        masks = select(model, IMAGE, keep, criterion)
        if before is not None:
            assert all(bool((before[name] | ~masks[name]).all()) for name in masks)
        assert sum(int(mask.sum()) for mask in masks.values()) >= 0.99 * keep * total - 1
        apply_masks(model, masks)
        before = get_masks(model)
        assert trace(model, IMAGE).num_filters == total


def test_selection_does_not_touch_the_model_and_repeats() -> None:
    model = make(Encoder)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    masks, again = (select(model, IMAGE, 0.3) for _ in range(2))
    assert all(torch.equal(masks[name], again[name]) for name in masks)
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert model.training


def test_a_network_that_is_cut_gets_its_strongest_path_back(caplog) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 1), nn.Conv2d(2, 1, 1))
    with torch.no_grad():
        for scale, layer in zip((0.1, 0.9, 0.1), model, strict=True):
            layer.weight.copy_(
                torch.linspace(scale, scale / 2, layer.weight.numel()).reshape_as(layer.weight)
            )
    with caplog.at_level(logging.WARNING, logger="leanline"):
        masks = select(model, IMAGE, 0.25, Magnitude(), refill=False)
    assert "no path from input to output" in caplog.text
    apply_masks(model, masks)
    assert summary(model, IMAGE).filters.after >= 3


def test_a_network_without_any_path_is_refused() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 1, 1))
    apply_masks(model, {"0.weight": torch.zeros(2, 1, dtype=torch.bool)})
    with pytest.raises(ModelError, match="cut in two already"):
        select(model, IMAGE, 0.5)


def test_ignored_layers_have_no_masks() -> None:
    model = make(Encoder)
    masks = select(model, IMAGE, 0.2, ignore=("head", model.up))
    assert masks.keys() == {"a.weight", "b.weight", "c.weight"}
    apply_masks(model, masks)
    bias = model.head.bias.detach().clone()
    report = clean(model, IMAGE)
    assert report.total == 0
    assert torch.equal(model.head.bias, bias) and torch.equal(model.up.bias, model.up.bias)


def test_keep_that_no_path_fits_in() -> None:
    model = nn.Sequential(*(nn.Conv2d(2, 2, 1) for _ in range(6)))
    image = torch.zeros(1, 2, 4, 4)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(
        ConfigError, match=r"2 of 24 filters.*at least 6: give a keep of at least 0.25"
    ):
        select(model, image, 0.1)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert sum(int(mask.sum()) for mask in select(model, image, 0.25).values()) == 6


@pytest.mark.parametrize("keep", [0, -1, 1.01, float("nan")])
def test_bad_keep(keep: float) -> None:
    with pytest.raises(ConfigError, match="keep is"):
        select(make(Dense, 2), IMAGE, keep)


@pytest.mark.parametrize("criterion", [Lean(), Magnitude(), OperatorNorm()])
def test_live_filters_of_a_densely_connected_network_meet_the_count(criterion: Criterion) -> None:
    model = MSD(20, 1, 3, seed=3)
    for target in (189, 120, 60, 21, 10):
        masks = select(model, torch.zeros(1, 1, 24, 24), target / 210, criterion)
        kept = sum(int(mask.sum()) for mask in masks.values())
        assert abs(kept - target) <= 0.01 * target
        apply_masks(model, masks)
        clean(model, torch.zeros(1, 1, 24, 24))
        assert sum(int(mask.sum()) for mask in get_masks(model).values()) == kept


class UNet(nn.Module):
    """Every path through the coarse scale goes through one layer of few, weak filters."""

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.down = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.coarse = nn.Conv2d(16, 16, 3, padding=1)
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.last = nn.Conv2d(16, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        fine = torch.relu(self.fine(x))
        coarse = torch.relu(self.down(nn.functional.max_pool2d(fine, 2)))
        return self.last(torch.cat([fine, self.up(torch.relu(self.coarse(coarse)))], 1))


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_bottleneck_does_not_spoil_the_count(criterion: Criterion) -> None:
    model = make(UNet)
    with torch.no_grad():
        model.fine.weight.mul_(0.01)  # the last to be selected, and all depends on them
    graph = trace(model, IMAGE)
    for keep in (0.5, 0.2, 0.1):
        target = round(keep * graph.num_filters)
        masks = select(model, IMAGE, keep, criterion)
        assert 0 <= sum(int(mask.sum()) for mask in masks.values()) - target <= 0.01 * target


def test_the_strongest_filters_stay_when_a_weak_one_brings_them_to_life() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 4, 1), nn.Conv2d(4, 1, 1))
    with torch.no_grad():
        for layer in model[1:]:
            layer.weight.copy_(2.0 + torch.arange(layer.weight.numel()).reshape_as(layer.weight))
        model[0].weight.copy_(torch.tensor([0.1, 0.2])[:, None, None, None])
    masks = select(model, IMAGE, 3 / 14, Magnitude())
    assert [mask.nonzero().tolist() for mask in masks.values()] == [[[1, 0]], [[3, 1]], [[0, 3]]]


@pytest.mark.parametrize("criterion", ["lean", Lean])
def test_what_is_no_criterion_is_refused(criterion) -> None:
    with pytest.raises(ConfigError, match=r"criterion is .*such as Lean\(\)"):
        select.__wrapped__(make(Dense, 2), IMAGE, 0.5, criterion)
