"""What becomes of a graph's operations: read, folded, in regions, as planes."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from leanline.compaction import compact
from leanline.errors import ModelError
from leanline.kernels.windows import CONVOLVE, LARGEST, SPREAD, Window
from leanline.masks import apply_masks
from leanline.models import MSD
from leanline.runtime import compile
from leanline.runtime.builder import POINT, ZERO, Builder, Value
from leanline.runtime.choose import usual
from leanline.runtime.execute import execute
from leanline.runtime.fold import fold_batch_norms
from leanline.runtime.parse import (
    Affine,
    Convolution,
    Join,
    Pad,
    Pool,
    Relu,
    Sum,
    Take,
    Zeros,
    note_shapes,
    parse,
)
from leanline.runtime.partition import Partition, partition
from leanline.runtime.region import build_program
from networks import NETWORKS, make
from plane_programs import assert_close
from soundness import outputs_of

from .networks import Dense, Residual, Then, mask_at_random, pictures, randomise

aten = torch.ops.aten


def noted(model: nn.Module, *inputs: Tensor) -> fx.GraphModule:
    """The folded compact network, with shapes."""
    small = compact(model, inputs)
    assert isinstance(small, fx.GraphModule)
    folded = fold_batch_norms(small)
    note_shapes(folded, inputs)
    return folded


# ------------------------------------------------------------------------------------- parse


def called(target: Callable[..., object], *arguments: object, **named: object) -> fx.GraphModule:
    """A graph of one call on a 4-channel picture, noted."""
    graph = fx.Graph()
    x = graph.placeholder("x")
    given = [[x, x] if item == "xx" else x if item == "x" else item for item in arguments]
    graph.output(graph.call_function(target, tuple(given), dict(named)))
    network = fx.GraphModule(nn.Module(), graph)
    note_shapes(network, (pictures(1, 4, 8, 10),))
    return network


POOL = Window(CONVOLVE, 2, 2, 2, 2)
CALLS = [
    ((aten.relu.default, "x"), Relu()),
    ((aten.add.Tensor, "x", "x"), Sum()),
    ((aten.add.Tensor, "x", 1.0), None),
    ((torch.cat, "xx", 1), Join()),
    ((torch.cat, "xx", -3), Join()),
    ((torch.cat, "xx", 2), None),
    ((torch.narrow, "x", 1, 1, 2), Take((1, 2))),
    ((torch.narrow, "x", 2, 1, 2), None),
    ((aten.avg_pool2d.default, "x", [2, 2]), Pool(POOL, 0.25)),
    ((aten.avg_pool2d.default, "x", [2, 2], [], [1, 1], False, False), None),
    ((aten.avg_pool2d.default, "x", [3], [1], [1]),
     Pool(Window(CONVOLVE, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1), 1 / 9)),
    ((aten.max_pool2d.default, "x", [2, 3], [1, 2], [0, 0], [1, 2]),
     Pool(Window(LARGEST, 2, 3, 1, 2, 1, 2), None)),
    ((aten.max_pool2d.default, "x", [3, 3], [2, 2], [1, 1]), None),
    ((aten.upsample_nearest2d.vec, "x", None, [2.0, 3.0]), Pool(Window(SPREAD, 2, 3, 2, 3), 1.0)),
    ((aten.upsample_nearest2d.vec, "x", None, [1.5, 2.0]), None),
    ((aten.upsample_nearest2d.vec, "x", [16, 20], None), None),
    ((functional.pad, "x", [1, 2, 3, 4]), Pad((3, 1, 4, 2), "zeros")),
    ((functional.pad, "x", [1, 2]), Pad((0, 1, 0, 2), "zeros")),
    ((functional.pad, "x", [1, 2], "constant", 2.0), None),
    ((functional.pad, "x", [1, 2, 3, 4], "circular"), None),
    ((functional.pad, "x", [1, 2, -1, 0]), None),
    ((functional.pad, "x", [0, 0, 0, 0, 1, 1]), None),
    ((aten.reflection_pad2d.default, "x", [1, 2, 3, 4]), Pad((3, 1, 4, 2), "reflect")),
    ((torch.sigmoid, "x"), None),
]  # fmt: skip


@pytest.mark.parametrize(("call", "expected"), CALLS)
def test_calls_are_read(call: tuple[object, ...], expected: object) -> None:
    network = called(*call)
    node = next(node for node in network.graph.nodes if node.op == "call_function")
    assert parse(network, node) == expected


@pytest.mark.parametrize("joins", [False, True])
def test_tensors_of_the_network_itself_are_no_planes(joins: bool) -> None:
    class Placed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2 + 2 * joins, 2, 1)
            self.place = nn.Parameter(torch.randn(1, 2, 8, 8))

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            return self.last(torch.cat([x, self.place], 1) if joins else x + self.place)

    model, images = randomise(Placed()), pictures(1, 1, 8, 8)
    fast = compile(model, images, "cpu", 1)
    assert_close(fast(images), model.eval()(images), "output")


def test_arguments_by_name() -> None:
    network = called(aten.avg_pool2d.default, "x", [2, 2], divisor_override=3)
    assert parse(network, list(network.graph.nodes)[1]) is None
    network = called(functional.pad, "x", [1, 1, 2, 2], mode="reflect")
    assert parse(network, list(network.graph.nodes)[1]) == Pad((2, 1, 2, 1), "reflect")


def test_only_float32_pictures() -> None:
    for inputs in (pictures(1, 4, 8), pictures(1, 4, 8, 8).double()):
        graph = fx.Graph()
        graph.output(graph.call_function(torch.relu, (graph.placeholder("x"),)))
        network = fx.GraphModule(nn.Module(), graph)
        note_shapes(network, (inputs,))
        assert parse(network, list(network.graph.nodes)[1]) is None


def test_shapes_leave_no_trace() -> None:
    graph = fx.Graph()
    x = graph.placeholder("x")
    graph.output(graph.call_function(torch.rand_like, (graph.call_method("mul_", (x, 2.0)),)))
    images, state = torch.ones(1, 1, 2, 2), torch.get_rng_state()
    note_shapes(fx.GraphModule(nn.Module(), graph), (images,))
    assert torch.equal(images, torch.ones(1, 1, 2, 2))
    assert torch.equal(state, torch.get_rng_state())


# -------------------------------------------------------------------------------------- fold


def test_folding_changes_nothing_but_time() -> None:
    for model in (Dense(), Residual()):
        images = pictures(2, 2, 24, 20)
        small = compact(randomise(model, 2).eval(), images)
        before = copy.deepcopy(small.state_dict())
        folded = fold_batch_norms(small)
        for want, have in zip(
            outputs_of(small, (images,)), outputs_of(folded, (images,)), strict=True
        ):
            assert_close(have, want, "output")
        assert all(torch.equal(before[k], v) for k, v in small.state_dict().items())
        assert not folded.training


def layers(network: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(part, kind) for part in network.modules())


@pytest.mark.parametrize(
    ("model", "left"),
    [
        (nn.Sequential(nn.Conv2d(2, 4, 3, groups=2, bias=False), nn.BatchNorm2d(4)), 0),
        (nn.Sequential(nn.ConvTranspose2d(2, 4, 3, stride=2), nn.BatchNorm2d(4)), 0),
        (nn.Sequential(nn.ConvTranspose2d(2, 4, 3, groups=2), nn.BatchNorm2d(4)), 1),
        (nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, affine=False), nn.ReLU()), 0),
        (nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)), 1),
    ],
)
def test_which_batch_norms_are_folded(model: nn.Module, left: int) -> None:
    images = pictures(2, 2, 9, 9)
    small = compact(randomise(model).eval(), images)
    folded = fold_batch_norms(small)
    assert layers(folded, nn.BatchNorm2d) == left
    with torch.no_grad():
        assert_close(folded(images), small(images), "output")


def test_layers_that_are_read_or_used_twice_are_not_folded() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.read, self.norm = nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2)
            self.shared, self.other = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)

        def forward(self, x: Tensor) -> Tensor:
            y = self.read(x)
            return y + self.norm(y) + self.other(self.shared(self.shared(x)))

    model, images = randomise(Twice()).eval(), pictures(2, 2, 9, 9)
    folded = fold_batch_norms(compact(model, images))
    assert layers(folded, nn.BatchNorm2d) == 2
    with torch.no_grad():
        assert_close(folded(images), model(images), "output")


# --------------------------------------------------------------------------------- partition


def assert_sound(network: fx.GraphModule, plan: Partition) -> None:
    """Every operation is in one place, and no path leaves a region and comes back."""
    places = [node for region in plan.regions for node in region.nodes] + list(plan.stages)
    assert sorted(places) == sorted(network.graph.nodes)
    for region in plan.regions:
        assert any(isinstance(parsed, Convolution) for parsed in region.nodes.values())
        below: set[fx.Node] = set()  # outside, and depending on the region
        for node in network.graph.nodes:
            if node in region.nodes:
                assert not below & set(node.all_input_nodes), node
            elif any(s in region.nodes or s in below for s in node.all_input_nodes):
                below.add(node)
        read = {user for node in region.nodes for user in node.users if user not in region.nodes}
        assert read == {u for node in region.outputs for u in node.users if u not in region.nodes}
        given = {s for n in region.nodes for s in n.all_input_nodes if s.op != "get_attr"}
        assert given - region.nodes.keys() == set(region.inputs)


@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - {"dictionary"}))
def test_regions_are_convex(name: str) -> None:
    model, inputs = make(name)
    mask_at_random(model, 0.6, 2)
    network = noted(model, *inputs)
    every = list(usual(network))
    want = outputs_of(network, inputs)
    for chosen in (every, every[::2], every[1::2], []):
        plan = partition(network, chosen)
        assert_sound(network, plan)
        on_planes = {n for region in plan.regions for n in region.nodes} & set(every)
        assert on_planes <= set(chosen)
        assert "in PyTorch: " in str(plan)
        for a, b in zip(outputs_of(execute(network, plan, {}, 1), inputs), want, strict=True):
            assert_close(a, b, "output")


def test_a_detour_splits_and_parts_that_do_not_meet_are_apart() -> None:
    def forward(model: nn.Module, x: Tensor) -> Tensor:
        y = model.a(x).relu()
        return model.c(y + model.b(y).sigmoid())

    model = Then(lambda y, x: y)
    model.a, model.b, model.c = (nn.Conv2d(2, 2, 3, padding=1) for _ in range(3))
    model.forward = forward.__get__(model)
    plan = partition(network := noted(randomise(model), pictures(1, 2, 8, 8)), list(usual(network)))
    assert [len(region.outputs) for region in plan.regions] == [2, 1]
    kinds = [{type(parsed) for parsed in region.nodes.values()} for region in plan.regions]
    assert kinds == [{Convolution, Relu}, {Sum, Convolution}]


def test_a_chain_with_all_that_planes_do_is_one_region() -> None:
    network = noted(randomise(Dense(), 2).eval(), pictures(1, 2, 24, 20))
    plan = partition(network, list(usual(network)))
    (region,) = plan.regions
    found = {type(parsed) for parsed in region.nodes.values()}
    assert found == {Convolution, Affine, Pool, Relu, Join}
    assert not [node for node in plan.stages if node.op.startswith("call")]


# ----------------------------------------------------------------------------------- builder


def ids(*planes: int) -> np.ndarray:
    return np.asarray(planes, np.int64)


def test_planes_that_nobody_needs_are_dropped() -> None:
    builder = Builder()
    picture = builder.input(2)
    made = [builder.add(POINT, picture.grid, ids(c), np.ones((1, 1)), 0.0, True) for c in (0, 1)]
    last = builder.add(POINT, picture.grid, ids(made[1]), np.full((1, 1), 2.0), 0.5, True)
    program, numbers = builder.finish([Value((last, 1), picture.grid)])
    assert len(program.grid) == 2 + 2
    assert program.source.tolist() == [1, 2]
    assert numbers.taps.tolist() == [1.0, 2.0] and numbers.bias.tolist() == [0.0, 0.5]
    assert [group.tolist() for group in program.outputs] == [[3, 1]]
    program.check()


@pytest.mark.parametrize(
    "window",
    [Window(CONVOLVE, 3, 3, 2, 2), Window(SPREAD, 2, 2, 2, 2), Window(LARGEST, 2, 2, 2, 2)],
)
def test_zeros_and_constants_of_a_size_that_only_they_have(window: Window) -> None:
    builder = Builder()
    picture = builder.input(1)
    grid = builder.target(window, builder.target(window, picture.grid))
    constant = builder.add(window, grid, ids(), np.zeros((0, window.taps)), 1.5, True)
    program, numbers = builder.finish([Value((ZERO, constant), grid)])
    program.check()
    assert len(program.steps) == 3  # on the way there, zeros, and the constant
    assert not numbers.taps.any() and sorted(numbers.bias) == [0, 0, 1.5]


def test_zero_channels_cost_nothing() -> None:
    model = randomise(MSD(4, 1, 1))
    with torch.no_grad():
        model.convs[2].weight.zero_()
        model.convs[2].bias.zero_()
        model.final.weight[:, -1] = 0
    network = noted(model, pictures(1, 1, 8, 8))
    plan = partition(network, list(usual(network)))
    program, _, outputs = build_program(plan.regions[0], plan.padding, {})
    assert outputs == (0,) and program.head.size == 3
    assert len(program.steps) == 2  # the third layer is zero, and nobody reads the fourth


def test_sums_and_joins_of_zeros() -> None:
    model = randomise(Then(lambda y, x: torch.cat([y, x + y[:, 2:]], 1), bias=False))
    dead = torch.ones(4, 2, dtype=torch.bool)
    dead[[0, 2]] = False
    apply_masks(model, {"conv.weight": dead})
    images = pictures(1, 2, 8, 8)
    network = noted(model, images)
    plan = partition(network, list(usual(network)))
    assert {Join, Sum, Zeros} <= {type(p) for r in plan.regions for p in r.nodes.values()}
    with torch.no_grad():
        assert_close(execute(network, plan, {}, 1)(images), model(images), "output")


def test_grids_of_different_size_do_not_join() -> None:
    builder = Builder()
    one, two = builder.input(1), builder.input(1)
    assert builder.join([one.grid, two.grid]) == builder.root(two.grid) == one.grid
    halved = builder.target(Window(CONVOLVE, 2, 2, 2, 2), one.grid)
    assert builder.root(halved) == halved != one.grid
    same = Window(CONVOLVE, 3, 3, 1, 1, 2, 2, 2, 2, 2, 2)
    assert builder.target(same, halved) == halved


def test_a_program_of_no_channels_is_refused() -> None:
    builder = Builder()
    picture = builder.input(1)
    program, _ = builder.finish([Value((), picture.grid)])
    with pytest.raises(ModelError, match="plane of output 0"):
        program.check()
