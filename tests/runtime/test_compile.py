"""Networks on the plane kernels against the masked models in PyTorch."""

import copy
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from leanline.errors import ConfigError, ModelError
from leanline.masks import apply_channel_masks, apply_masks, remove_masks
from leanline.models import MSD
from leanline.runtime import compile
from leanline.runtime.choose import Choice, usual
from leanline.runtime.compile import _fastest
from leanline.runtime.compiled import CompiledNetwork
from leanline.runtime.region import check_threads
from plane_programs import assert_close

from .networks import (
    BufferMSD,
    ConcatMSD,
    Mixed,
    Then,
    convolutions,
    mask_at_random,
    pictures,
    randomise,
    regions,
)

MAKERS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "msd": (lambda: MSD(12, 1, 2), 1),
    "msd width 3": (lambda: MSD(6, 2, 5, width=3), 2),
    "msd replicate": (lambda: MSD(6, 1, 2, padding_mode="replicate"), 1),
    "msd reflect": (lambda: MSD(6, 1, 2, padding_mode="reflect"), 1),
    "cat": (ConcatMSD, 1),
    "buffer": (BufferMSD, 1),
    "mixed": (Mixed, 2),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("keep", [1.0, 0.4, 0.1])
def test_equals_the_masked_model_at_any_size(name: str, keep: float) -> None:
    make, channels = MAKERS[name]
    model = randomise(make(), 1)
    mask_at_random(model, keep, 3, skip=("final", "last"))
    fast = compile(model, pictures(1, channels, 24, 20), "cpu", threads=2)
    assert not fast.training
    for batch, height, width in [(1, 24, 20), (3, 31, 18)]:
        images = pictures(batch, channels, height, width, seed=7)
        with torch.no_grad():
            assert_close(fast(images), model.eval()(images), "output")


def test_zeros_cost_nothing_whoever_made_them() -> None:
    masked = randomise(MSD(12, 1, 2), 1)
    mask_at_random(masked, 0.2, 0, skip=("final",))
    baked = copy.deepcopy(masked)
    remove_masks(baked)
    images = pictures(1, 1, 16, 16)
    first, second = (compile(m, images, "cpu", 1) for m in (masked, baked))
    (one,), (two,) = regions(first), regions(second)
    assert one.taps.shape == two.taps.shape
    assert one.planes.program.source.size < 40
    assert torch.equal(first(images), second(images))


def test_masked_biases_are_not_added() -> None:
    model = randomise(MSD(4, 1, 2), 1)
    apply_channel_masks(model, {"convs.1.bias": torch.tensor([False])})
    images = pictures(1, 1, 16, 16)
    with torch.no_grad():
        assert_close(compile(model, images, "cpu", 1)(images), model(images), "output")


def test_the_model_is_not_changed_and_the_result_is_a_snapshot() -> None:
    model = randomise(ConcatMSD(), 1).train()
    images = pictures(1, 1, 16, 16)
    before = copy.deepcopy(model.state_dict())
    random_state = torch.get_rng_state()
    fast = compile(model, images, "cpu", 1)
    want = fast(images)
    assert torch.equal(random_state, torch.get_rng_state())
    assert model.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    with torch.no_grad():
        model.last.weight.zero_()
    assert torch.equal(fast(images), want)
    again = copy.deepcopy(fast)
    again.load_state_dict(fast.state_dict())
    assert torch.equal(again(images), want)
    assert "filters" in repr(fast)


def test_inference_mode_around_everything() -> None:
    model = randomise(MSD(4, 1, 2), 1)
    images = pictures(1, 1, 16, 16)
    with torch.inference_mode():
        have = compile(model, images, "cpu", 1)(images)
    with torch.no_grad():
        assert_close(have.clone(), model(images), "output")


# ---------------------------------------------------------- what runs where, and what is refused

F = functional
ALL, PARTLY, NONE = "all on planes", "convolutions on planes", "in PyTorch"
PLACES: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "stride": (lambda: Then(lambda y, x: y, stride=2), ALL),
    "transposed": (lambda: nn.ConvTranspose2d(2, 4, 3, padding=1), ALL),
    "transposed with all settings": (
        lambda: nn.ConvTranspose2d(2, 4, (2, 3), (2, 3), (1, 0), (0, 2), 2, True, (1, 2)),
        ALL,
    ),
    "5x5": (lambda: nn.Conv2d(2, 4, 5, padding=2), ALL),
    "1x1 in the middle": (
        lambda: nn.Sequential(nn.Conv2d(2, 4, 1), nn.Conv2d(4, 2, 3, padding=1)),
        ALL,
    ),
    "valid padding": (lambda: Then(lambda y, x: y, padding=0), ALL),
    "uneven dilation": (lambda: Then(lambda y, x: y, dilation=(1, 2)), ALL),
    "circular": (lambda: Then(lambda y, x: y, padding_mode="circular"), PARTLY),
    "two paddings": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 2, 3, padding=1, padding_mode="reflect")
        ),
        PARTLY,
    ),
    "padding twice": (
        lambda: nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(2, 4, 3, padding=1)),
        ALL,
    ),
    "only the columns padded": (
        lambda: nn.Sequential(nn.ZeroPad2d((1, 1, 0, 0)), nn.Conv2d(2, 4, 3)),
        ALL,
    ),
    "padded by two numbers": (
        lambda: Then(lambda y, x: F.conv2d(F.pad(y, (1, 1)), torch.ones(1, 4, 3, 3))),
        ALL,
    ),
    "padded last layer": (
        lambda: nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ZeroPad2d(1), nn.Conv2d(4, 2, 1)),
        ALL,
    ),
    "padded with ones": (
        lambda: nn.Sequential(nn.ConstantPad2d(1, 1.0), nn.Conv2d(2, 4, 3)),
        PARTLY,
    ),
    "padded for two readers": (
        lambda: Then(lambda y, x: F.max_pool2d(p := F.pad(y, (1, 1, 1, 1)), 3) + p.mean()),
        PARTLY,
    ),
    "padding at the end": (lambda: Then(lambda y, x: F.pad(y, (1, 1, 1, 1))), PARTLY),
    "cropping": (lambda: Then(lambda y, x: y[:, :, 1:-1, 1:-1]), PARTLY),
    "batch norm": (
        lambda: nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)),
        ALL,
    ),
    "batch norm first": (
        lambda: nn.Sequential(nn.BatchNorm2d(2, affine=False), nn.Conv2d(2, 4, 3, padding=1)),
        ALL,
    ),
    "addition": (lambda: Then(lambda y, x: y + y[:, :4].relu()), ALL),
    "addition of a factor": (lambda: Then(lambda y, x: torch.add(y, y.relu(), alpha=2)), PARTLY),
    "addition to itself": (lambda: Then(lambda y, x: y + y), ALL),
    "addition of one channel": (lambda: Then(lambda y, x: y + x[:, :1]), PARTLY),
    "sigmoid": (lambda: Then(lambda y, x: y.sigmoid()), PARTLY),
    "gelu": (lambda: Then(lambda y, x: F.gelu(y)), PARTLY),
    "relu of a sum of readers": (lambda: Then(lambda y, x: torch.cat([y, y.relu()], 1)), ALL),
    "relu of the picture": (lambda: Then(lambda y, x: torch.cat([y, x.relu()], 1)), ALL),
    "relu of a pool": (lambda: Then(lambda y, x: F.max_pool2d(y, 2).relu()), ALL),
    "relu of channels that repeat": (
        lambda: Then(lambda y, x: (y[:, [0, 0, 1]].relu(), y[:, [2, 1]])),
        ALL,
    ),
    "largest values": (lambda: Then(lambda y, x: F.max_pool2d(y, (2, 3), dilation=2)), ALL),
    "largest values, padded": (lambda: Then(lambda y, x: F.max_pool2d(y, 3, 2, 1)), PARTLY),
    "largest positive values, padded": (
        lambda: Then(lambda y, x: F.max_pool2d(y.relu(), 3, 2, 1)),
        ALL,
    ),
    "largest values, rounded up": (
        lambda: Then(lambda y, x: F.max_pool2d(y[:, :, 1:], 2, ceil_mode=True)),
        PARTLY,
    ),
    "mean values": (lambda: Then(lambda y, x: F.avg_pool2d(y, (3, 2), 2, 1)), ALL),
    "mean values of what is there": (
        lambda: Then(lambda y, x: F.avg_pool2d(y, 3, 1, 1, count_include_pad=False)),
        PARTLY,
    ),
    "mean values by a divisor": (
        lambda: Then(lambda y, x: F.avg_pool2d(y, 3, divisor_override=4)),
        PARTLY,
    ),
    "nearest": (lambda: Then(lambda y, x: F.interpolate(y, scale_factor=(2, 3))), ALL),
    "nearest by a part": (lambda: Then(lambda y, x: F.interpolate(y, scale_factor=1.5)), PARTLY),
    "nearest to a size": (lambda: Then(lambda y, x: F.interpolate(y, (24, 24))), PARTLY),
    "two outputs": (lambda: Then(lambda y, x: (y, x)), ALL),
    "the same output twice": (lambda: Then(lambda y, x: (y, y)), ALL),
    "dictionary": (lambda: Then(lambda y, x: {"seg": y, 3: y.relu()}), ALL),
    "list": (lambda: Then(lambda y, x: [y]), ALL),
    "double": (lambda: Then(lambda y, x: y.double()), PARTLY),
    "mean": (lambda: Then(lambda y, x: y.mean((2, 3), keepdim=True)), PARTLY),
    "3-D": (lambda: nn.Conv1d(2, 2, 3, padding=1), NONE),
    "no convolution": (lambda: nn.Sequential(nn.BatchNorm2d(2), nn.ReLU()), NONE),
    "grouped last layer": (lambda: nn.Conv2d(2, 4, 1, groups=2), ALL),
    "a layer of the name that a region gets": (
        lambda: nn.Sequential(
            OrderedDict(a=nn.Conv2d(2, 4, 3), s=nn.Sigmoid(), planes_1=nn.Linear(10, 3))
        ),
        PARTLY,
    ),
}


@pytest.mark.parametrize("name", PLACES)
def test_what_runs_where(name: str) -> None:
    make, where = PLACES[name]
    model = randomise(make()).eval()
    images = pictures(2, 2, 12) if name == "3-D" else pictures(2, 2, 12, 12)
    if where == NONE:
        with pytest.raises(ModelError, match="cannot run any part"):
            compile(model, images, "cpu", 1)
        return
    fast = compile(model, images, "cpu", 1)
    assert isinstance(fast, CompiledNetwork)
    calls = [node for node in fast.network.graph.nodes if node.op.startswith("call")]
    others = [node for node in calls if "planes" not in node.name and "getitem" not in node.name]
    assert (convolutions(fast), bool(others)) == (0 if regions(fast) else 1, where == PARTLY)
    with torch.no_grad():
        have, want = fast(images), model(images)
    assert type(have) is type(want)
    for a, b in zip(_flat(have), _flat(want), strict=True):
        assert a.dtype == b.dtype
        assert_close(a, b, "output")


def _flat(output: object) -> list[Tensor]:
    return torch.utils._pytree.tree_leaves(output)


def test_a_network_without_convolutions_runs_in_pytorch(caplog: pytest.LogCaptureFixture) -> None:
    model = nn.Sequential(nn.BatchNorm2d(2), nn.Sigmoid()).eval()
    fast = compile(model, pictures(1, 2, 12, 12), "auto", 1)
    assert not regions(fast)
    with torch.no_grad():
        assert_close(fast(pictures(1, 2, 9, 9)), model(pictures(1, 2, 9, 9)), "output")


def test_constant_channels_and_outputs() -> None:
    model = randomise(ConcatMSD())
    nothing = {n: torch.zeros(p.shape[:2]) > 0 for n, p in model.named_parameters() if p.ndim == 4}
    apply_masks(model, nothing)
    images = pictures(2, 1, 8, 8)
    for constant in (model, nn.Sequential(model, nn.Conv2d(2, 3, 3, stride=2))):
        with torch.no_grad():
            want = constant(images)
        try:
            have = compile(constant, images, "cpu", 1)(images)
        except ModelError as problem:
            assert "cannot run any part" in str(problem)
            continue
        assert_close(have, want, "output")
    half = nn.Conv2d(1, 2, 3, stride=2, padding=1, bias=False)
    apply_masks(half, {"weight": torch.tensor([[True], [False]])})
    with torch.no_grad():
        assert_close(compile(half, images, "cpu", 1)(images), half(images), "output")


# --------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("backend", ["auto", "cpu", "reference"])
@pytest.mark.parametrize(
    ("images", "says"),
    [
        (torch.zeros(1, 3, 8, 8), "fails on example_inputs"),
        (torch.zeros(8, 8), "fails on example_inputs"),
        (torch.zeros(1, 1, 8, 8, dtype=torch.float64), "float64"),
        (torch.zeros(1, 1, 8, 8, dtype=torch.uint8), "uint8"),
        ([torch.zeros(1, 1, 8, 8)], "tensor or a tuple of arguments.*not list"),
        ((), "tensor or a tuple of arguments"),
        ("picture", "not str"),
    ],
)
def test_bad_example_inputs(backend: str, images: object, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        compile.__wrapped__(MSD(3, 1, 2), images, backend)  # behind the tests' own type check


@pytest.mark.parametrize("backend", ["tpu", "", "CPU"])
def test_an_unknown_backend(backend: str) -> None:
    with pytest.raises(ConfigError, match="must be one of auto, reference, cpu"):
        compile(MSD(3, 1, 2), pictures(1, 1, 8, 8), backend)


def test_the_gpu_kernels_want_pictures_on_a_gpu() -> None:
    with pytest.raises(ModelError, match="on a 'cuda' device; the inputs are on cpu"):
        compile(MSD(3, 1, 2), pictures(1, 1, 8, 8), "gpu")


@pytest.mark.parametrize("threads", [0, -1, True, 1.5, "2"])
def test_a_bad_number_of_threads(threads: object) -> None:
    with pytest.raises(ConfigError, match="whole number, at least 1"):
        check_threads.__wrapped__(threads)


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (torch.zeros(1, 2, 8, 8), "got .* 2 channels.* compiled for 4 axes, 1 channels"),
        (torch.zeros(1, 8, 8), "got inputs of 3 axes"),
        (torch.zeros(1, 1, 8, 8, dtype=torch.float16), "float16.*compiled for.*torch.float32"),
        (torch.zeros(1, 1, 0, 8), "no pixel"),
        (torch.zeros(0, 1, 8, 8), "no pixel"),
        (torch.zeros(1, 1, 8, 8, device="meta"), "on meta; .* on cpu"),
    ],
)
def test_bad_pictures_at_run_time(images: Tensor, says: str) -> None:
    fast = compile(randomise(MSD(3, 1, 2)), pictures(1, 1, 8, 8), "cpu", 1)
    with pytest.raises(ModelError, match=says):
        fast(images)
    with pytest.raises(ModelError, match="compiled for"):
        fast(pictures(1, 1, 8, 8), pictures(1, 1, 8, 8))


def test_a_float64_model_runs_in_pytorch() -> None:
    model = randomise(MSD(3, 1, 2)).double()
    images = pictures(1, 1, 8, 8).double()
    with pytest.raises(ModelError, match="cannot run any part"):
        compile(model, images, "cpu")
    with torch.no_grad():
        assert_close(compile(model, images)(images), model(images), "output", 1e-12)


def test_auto_measures_and_keeps_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model = randomise(MSD(10, 1, 2))
    mask_at_random(model, 0.1, 0, skip=("final",))
    fast = compile(model, pictures(1, 1, 64, 64), "auto", 1)
    with torch.no_grad():
        assert_close(fast(pictures(2, 1, 30, 50)), model(pictures(2, 1, 30, 50)), "output")
    assert list((tmp_path / "leanline" / "times").glob("*.json"))


def test_auto_tries_planes_for_some_convolutions_only(monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["leanline.runtime.compile"]
    seen: dict[str, int] = {}

    def choose(network: fx.GraphModule, measured: object) -> dict[fx.Node, Choice]:
        nodes = list(usual(network))
        return {n: Choice(i % 2 == 0, 0, 1.0, 1.0) for i, n in enumerate(nodes)}

    def fastest(
        networks: dict[str, nn.Module], inputs: tuple[Tensor, ...]
    ) -> tuple[str, dict[str, float]]:
        seen.update({name: convolutions(network) for name, network in networks.items()})
        return "mixed", {}

    monkeypatch.setattr(module, "choose", choose)
    monkeypatch.setattr(module, "_fastest", fastest)
    model = randomise(MSD(4, 1, 2))
    images = pictures(1, 1, 16, 16)
    fast = compile(model, images, "auto", 1)
    assert seen == {"reference": 5, "compact": 5, "planes": 0, "mixed": 2}
    with torch.no_grad():
        assert_close(fast(images), model(images), "output")


def test_slow_networks_leave_after_the_first_round() -> None:
    calls = {"quick": 0, "slow": 0}

    class Net(nn.Module):
        def __init__(self, name: str, work: int) -> None:
            super().__init__()
            self.name, self.work = name, work

        def forward(self, x: Tensor) -> Tensor:
            calls[self.name] += 1
            for _ in range(self.work):
                x = x @ x
            return x

    networks = {"slow": Net("slow", 300), "quick": Net("quick", 1)}
    best, times = _fastest(networks, (torch.eye(64),))
    assert best == "quick" and times["quick"] < times["slow"]
    assert calls == {"quick": 2, "slow": 2}
