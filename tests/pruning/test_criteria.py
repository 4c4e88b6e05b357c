"""Each pruning rule against explicit loops, and the stages of soft pruning."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

from leanline.errors import ConfigError
from leanline.masks import apply_masks, get_masks, zero_filters
from leanline.pruning import (
    Criterion,
    GeometricMedian,
    Magnitude,
    OperatorNorm,
    Random,
    Schedule,
    SoftFilter,
    StagedCriterion,
    StageWork,
    make_criterion,
    prune,
    select,
    trace,
)
from leanline.pruning.criteria.ranking import check_scope

IMAGE = torch.zeros(1, 4, 8, 8)


def network(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(4, 6, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(6, 6, 3, padding=1, groups=3),
            nn.ReLU(),
            nn.ConvTranspose2d(6, 4, 3, padding=1, groups=2),
            nn.ReLU(),
            nn.ConvTranspose2d(4, 3, 1),
        )


def output_channel(layer: nn.Module, row: int, column: int) -> int:
    """The output channel of filter (row, column) of a weight."""
    if isinstance(layer, nn.ConvTranspose2d):
        group = row // (layer.in_channels // layer.groups)
        return group * (layer.out_channels // layer.groups) + column
    return row


def output_filter(layer: nn.Module, channel: int) -> list[float]:
    """Every number that a convolution uses for one output channel."""
    weight = layer.weight.detach().double()
    return [
        float(value)
        for row in range(weight.shape[0])
        for column in range(weight.shape[1])
        if output_channel(layer, row, column) == channel
        for value in weight[row, column].flatten()
    ]


def scores_by_hand(model: nn.Sequential, rule: Criterion) -> dict[str, list[float]]:
    """Scores of the output filters of each layer."""
    found = {}
    for name, layer in model.named_modules():
        if not isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            continue
        filters = [output_filter(layer, c) for c in range(layer.out_channels)]
        if isinstance(rule, SoftFilter):
            scores = [math.sqrt(sum(v * v for v in f)) for f in filters]
        else:
            scores = [sum(math.dist(f, other) for other in filters) for f in filters]
        found[f"{name}.weight"] = scores
    return found


@pytest.mark.parametrize("rule", [GeometricMedian(), SoftFilter()])
@pytest.mark.parametrize("count", [0, 1, 17, 40, 60])
def test_whole_output_filters_by_hand(rule: Criterion, count: int) -> None:
    model = network()
    graph = trace(model, IMAGE)
    ids = []
    for block in graph.filters:
        layer = model.get_submodule(block.name.removesuffix(".weight"))
        scores = scores_by_hand(model, rule)[block.name]
        by_score = sorted(range(len(scores)), key=lambda c: -scores[c])
        for i in range(block.count):
            row, column = divmod(i, block.shape[1])
            channel = output_channel(layer, row, column)
            ids.append((by_score.index(channel) / len(scores), block.offset + i))
    order = rule.order(graph, graph.program.tensors, graph.num_filters)
    assert order.size == len(ids)
    places = dict((filter_id, place) for place, filter_id in ids)
    assert [places[i] for i in order.tolist()] == sorted(places.values())
    assert (order[:count] == rule.order(graph, graph.program.tensors, count)).all()
    # a whole output filter comes before the next one begins
    for block in graph.filters:
        own = [i for i in order.tolist() if 0 <= i - block.offset < block.count]
        steps = [places[i] for i in own]
        assert steps == sorted(steps)


def test_the_geometric_median_counts_filters_that_are_left_only() -> None:
    model = nn.Sequential(nn.Conv2d(1, 5, 1, bias=False), nn.Conv2d(5, 1, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([0.1, 0.0, 5.0, 5.1, 9.0]).reshape(5, 1, 1, 1))
    mask = torch.tensor([[True], [True], [True], [True], [False]])
    apply_masks(model, {"0.weight": mask})
    graph = trace(model, torch.zeros(1, 1, 4, 4))
    order = GeometricMedian().order(graph, graph.program.tensors, 10)
    # sums of distances among the four: 9.9, 10.1, 10.0 - ties aside, the pruned one comes last
    sums = {i: sum(abs(a - b) for b in (0.1, 0.0, 5.0, 5.1)) for i, a in
            enumerate((0.1, 0.0, 5.0, 5.1))}  # fmt: skip
    want = [*sorted(sums, key=lambda i: -sums[i]), 4]
    assert [i for i in order.tolist() if i < 5] == want


def rank_in_layers(graph, scores: np.ndarray) -> list[int]:
    keyed = []
    for block in graph.filters:
        own = list(range(block.offset, block.offset + block.count))
        best = sorted(own, key=lambda i: (-scores[i], i))
        keyed += [(place / block.count, i) for place, i in enumerate(best)]
    return [i for _, i in sorted(keyed)]


def test_layer_scopes_by_hand() -> None:
    model = network(1)
    graph = trace(model, IMAGE)
    tensors = graph.program.tensors
    scores = np.array(
        [
            float(value)
            for block in graph.filters
            for value in tensors[block.name].double().abs().sum((2, 3)).flatten()
        ]
    )
    order = Magnitude(scope="layer").order(graph, tensors, graph.num_filters)
    assert order.tolist() == rank_in_layers(graph, scores)
    edges = graph.channels.edges()
    norms = np.full(graph.num_filters, -np.inf)
    for edge, filter_id in enumerate(graph.edge_filter):
        if filter_id >= 0:
            norms[filter_id] = max(norms[filter_id], edges.log_weight[edge])
    order = OperatorNorm(scope="layer").order(graph, tensors, graph.num_filters)
    assert order.tolist() == rank_in_layers(graph, norms)


def test_random_orders_depend_on_the_seed_alone() -> None:
    first, second = trace(network(0), IMAGE), trace(network(1), IMAGE)

    def order(graph, seed: int) -> list[int]:
        return Random(seed).order(graph, graph.program.tensors, graph.num_filters).tolist()

    assert order(first, 0) == order(second, 0)
    assert order(first, 0) != order(first, 1)


class Soft:
    """Retraining that can be done in parts, and notes what it was given."""

    def __init__(self) -> None:
        self.parts: list[tuple[int, int, int]] = []
        self.zeros: list[list[bool]] = []

    def __call__(self, model: nn.Module, stage: object) -> dict[str, float]:
        raise AssertionError("a stage in parts was asked for")

    def train(self, model: nn.Module, stage, part: int = 0, parts: int = 1) -> dict[str, float]:
        self.parts.append((stage.index, part, parts))
        weight = model[0].weight.detach()
        self.zeros.append((weight.flatten(1) == 0).all(1).tolist())
        with torch.no_grad():  # what was zeroed comes back
            model[0].weight[torch.tensor(self.zeros[-1])] = 10.0 + len(self.parts)
        return {"train_loss": float(len(self.parts))}

    def judge(self, model: nn.Module) -> dict[str, float]:
        return {"kept": float(sum(int(m.sum()) for m in get_masks(model).values()))}


def test_soft_filters_come_back_and_the_end_of_a_stage_is_hard() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 1, bias=False), nn.Conv2d(4, 1, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([4.0, 3.0, 2.0, 1.0]).reshape(4, 1, 1, 1))
        model[1].weight.copy_(torch.tensor([4.0, 3.0, 2.0, 1.0]).reshape(1, 4, 1, 1))
    model[1].leanline_ignore = ("",)
    soft = Soft()
    (stage,) = prune(model, torch.zeros(1, 1, 4, 4), soft, SoftFilter(3), Schedule(0.5),
                     ignore=("1",))  # fmt: skip
    assert soft.parts == [(1, 0, 3), (1, 1, 3), (1, 2, 3)]
    # 3 and 2 go first; they return as 11, so that 1 and 4 are next; those return as 12
    assert soft.zeros == [
        [False, False, True, True],
        [True, True, False, False],
        [False, False, True, True],
    ]
    mask = get_masks(model)["0.weight"].flatten().tolist()
    assert mask == [False, False, True, True]  # the last to come back, 13
    assert model[0].weight.detach().flatten()[:2].tolist() == [0.0, 0.0]
    assert stage.metrics == {"train_loss": 3.0, "kept": 2.0}
    assert stage.kept_filters == 2


def test_a_function_without_parts_is_called_once_a_period_and_once_to_judge() -> None:
    seen = []

    def finetune(model: nn.Module) -> dict[str, float]:
        seen.append(len(get_masks(model)))
        return {"calls": float(len(seen))}

    (stage,) = prune(network(), IMAGE, finetune, SoftFilter(2), Schedule(0.5))
    assert seen == [0, 0, 4]  # masks only at the last call
    assert stage.metrics == {"calls": 3.0}


class Endless(StagedCriterion):
    """A rule that never selects for good."""

    def order(self, graph, tensors, limit):
        return Magnitude().order(graph, tensors, limit)

    def run_stage(self, work: StageWork) -> dict[str, float]:
        work.zero()
        return {}


def test_a_stage_that_holds_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"without work\.hold\(\)"):
        list(prune(network(), IMAGE, lambda model: None, Endless(), Schedule(0.5)))


def test_filters_are_zeroed_below_masks() -> None:
    plain, masked, foreign = network(), network(), network()
    apply_masks(masked, {"0.weight": torch.ones(6, 4, dtype=torch.bool)})
    torch_prune.identity(foreign[0], "weight")
    drop = torch.zeros(6, 4, dtype=torch.bool)
    drop[2, 1] = True
    for model in (plain, masked, foreign):
        zero_filters(model, {"0.weight": ~drop})
        with torch.no_grad():
            model(IMAGE)  # old-style masks are applied by a forward hook
        weight = model[0].weight.detach()
        assert ((weight == 0).all(dim=(2, 3)) == drop).all()
        assert torch.equal(weight[~drop], network()[0].weight.detach()[~drop])
    normed = network()
    nn.utils.parametrizations.weight_norm(normed[0])
    with pytest.raises(ConfigError, match="computed from others"):
        zero_filters(normed, {"0.weight": ~drop})


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="'global' or 'layer'"):
        check_scope("channel", "Magnitude")
    with pytest.raises(ConfigError, match="must be 'global' or 'layer', not 'channel'"):
        make_criterion("magnitude", scope="channel")
    with pytest.raises(ConfigError, match="at least one period"):
        SoftFilter(0)
    with pytest.raises(ConfigError, match="at least 0"):
        Random(-1)
    with pytest.raises(ConfigError, match="there are lean, magnitude"):
        make_criterion("l1")
    with pytest.raises(ConfigError, match="has no setting 'scope'"):
        make_criterion("lean", scope="layer")
    assert make_criterion("random", seed="4", scope="layer") == Random(4, "layer")
    assert make_criterion("soft-filter", periods="2") == SoftFilter(2)


def test_layer_wise_selection_keeps_every_layer() -> None:
    model = network()
    with torch.no_grad():
        model[0].weight.mul_(1e-3)  # a global rule takes nothing of it before all others
    for rule in (Magnitude("layer"), GeometricMedian(), SoftFilter(), Random(0, "layer")):
        masks = select(model, IMAGE, 0.4, rule, refill=False)
        assert all(bool(mask.any()) for mask in masks.values())
    raw = select(model, IMAGE, 0.2, Magnitude(), refill=False)
    assert not bool(raw["0.weight"].sum() > 4)


def test_tensors_on_the_way_are_not_changed() -> None:
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for rule in (GeometricMedian(), SoftFilter(), Random()):
        select(model, IMAGE, 0.5, rule)
    after: dict[str, Tensor] = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
