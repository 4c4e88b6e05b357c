"""Networks on the plane kernels against the masked models in PyTorch."""

import copy
import logging
from collections.abc import Callable

import pytest
import torch
from leanline.runtime.network import PlaneNetwork, check_threads
from leanline.runtime.present import present_by_mask, present_by_value
from torch import Tensor, nn
from torch.nn import functional

from leanline.errors import ConfigError, ModelError
from leanline.graph import trace_program
from leanline.masks import apply_channel_masks, apply_masks, remove_masks
from leanline.models import MSD
from leanline.runtime import compile, plan_planes
from plane_programs import assert_close

from .networks import BufferMSD, ConcatMSD, Mixed, mask_at_random, randomise


def pictures(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


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
    if keep == 0.1 and name == "mixed":
        apply_masks(model, {})  # enough is left: see the assertion on planes below
    fast = compile(model, pictures(1, channels, 24, 20), "cpu", threads=2)
    assert not fast.training
    for batch, height, width in [(1, 24, 20), (3, 31, 18)]:
        images = pictures(batch, channels, height, width, seed=7)
        # a slice buffer has the example's batch and size in it only in PyTorch's own trace
        with torch.no_grad():
            assert_close(fast(images), model.eval()(images), "output")


def test_zeros_cost_nothing_whoever_made_them() -> None:
    masked = randomise(MSD(12, 1, 2), 1)
    mask_at_random(masked, 0.2, 0, skip=("final",))
    baked = copy.deepcopy(masked)
    remove_masks(baked)
    images = pictures(1, 1, 16, 16)
    first, second = (compile(m, images, "cpu", 1) for m in (masked, baked))
    assert isinstance(first, PlaneNetwork) and isinstance(second, PlaneNetwork)
    assert len(first.taps) == len(second.taps) < 40
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


# ---------------------------------------------------------------------------------- refusals


class Then(nn.Module):
    """A 3x3 layer, then a function of its result and the picture."""

    def __init__(self, then: Callable[[Tensor, Tensor], object], **settings: object) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, **{"padding": 1, **settings})
        self.then = then

    def forward(self, x: Tensor) -> object:
        return self.then(self.conv(x), x)


F = functional
REFUSALS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "stride": (lambda: Then(lambda y, x: y, stride=2), "stride 1"),
    "transposed": (lambda: nn.ConvTranspose2d(2, 4, 3, padding=1), "stride 1"),
    "5x5": (lambda: nn.Conv2d(2, 4, 5, padding=2), "5x5 convolution"),
    "1x1 in the middle": (
        lambda: nn.Sequential(nn.Conv2d(2, 4, 1), nn.Conv2d(4, 2, 3, padding=1)),
        "1x1 convolution that is not the last",
    ),
    "valid padding": (lambda: Then(lambda y, x: y, padding=0), r"padding \(0, 0\) with dilation 1"),
    "uneven dilation": (lambda: Then(lambda y, x: y, dilation=(1, 2)), "3x3 convolution"),
    "circular": (lambda: Then(lambda y, x: y, padding_mode="circular"), "circular padding"),
    "two paddings": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 2, 3, padding=1, padding_mode="reflect")
        ),
        "reflect padding after zeros padding",
    ),
    "padding twice": (
        lambda: nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(2, 4, 3, padding=1)),
        "padding twice",
    ),
    "only the columns padded": (
        lambda: nn.Sequential(nn.ZeroPad2d((1, 1, 0, 0)), nn.Conv2d(2, 4, 3)),
        "uneven",
    ),
    "padded by two numbers": (
        lambda: Then(lambda y, x: F.conv2d(F.pad(y, (1, 1)), torch.ones(1, 4, 3, 3))),
        "uneven",
    ),
    "padded last layer": (
        lambda: nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ZeroPad2d(1), nn.Conv2d(4, 2, 1)),
        "padded picture",
    ),
    "padding at the end": (lambda: Then(lambda y, x: F.pad(y, (1, 1, 1, 1))), "no convolution"),
    "cropping": (lambda: Then(lambda y, x: y[:, :, 1:-1, 1:-1]), "negative"),
    "batch norm": (
        lambda: nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)),
        "batch_norm",
    ),
    "addition": (lambda: Then(lambda y, x: y + y[:, :4]), "'add'"),
    "sigmoid": (lambda: Then(lambda y, x: y.sigmoid()), "shift"),
    "gelu": (lambda: Then(lambda y, x: F.gelu(y)), "only ReLU"),
    "relu of a sum of readers": (
        lambda: Then(lambda y, x: torch.cat([y, y.relu()], 1)),
        "follow its own convolution",
    ),
    "relu of the picture": (lambda: Then(lambda y, x: torch.cat([y, x.relu()], 1)), "follow"),
    "pooling": (lambda: Then(lambda y, x: F.max_pool2d(y, 2)), "'pool'"),
    "two outputs": (lambda: Then(lambda y, x: (y, x)), "second output"),
    "the same output twice": (lambda: Then(lambda y, x: (y, y)), "second output"),
    "dictionary": (lambda: Then(lambda y, x: {"seg": y}), "returns a dict"),
    "list": (lambda: Then(lambda y, x: [y]), "returns a list"),
    "double": (lambda: Then(lambda y, x: y.double()), "float64"),
    "linear": (lambda: Then(lambda y, x: y.mean((2, 3), keepdim=True)), "'pool'"),
    "3-D": (lambda: nn.Conv1d(2, 2, 3, padding=1), "3 axes, not 4"),
    "grouped last layer": (lambda: nn.Conv2d(2, 4, 1, groups=2), "with groups"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_the_kernels_cannot_run_is_named(name: str, caplog: pytest.LogCaptureFixture) -> None:
    make, says = REFUSALS[name]
    model = randomise(make())
    images = pictures(1, 2, 12) if name == "3-D" else pictures(1, 2, 12, 12)
    with pytest.raises(ModelError, match=says):
        compile(model, images, "cpu", 1)
    with caplog.at_level(logging.WARNING), torch.no_grad():
        plain = compile(model, images, "auto", 1)
        have, want = plain(images), model.eval()(images)
    assert "running in PyTorch" in caplog.text
    for a, b in zip(_flat(have), _flat(want), strict=True):
        assert torch.equal(a, b)


def _flat(output: object) -> list[Tensor]:
    return torch.utils._pytree.tree_leaves(output)


def test_two_inputs_are_refused() -> None:
    class Two(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return torch.cat([a, b], 1)

    images = pictures(1, 2, 8, 8)
    with pytest.raises(ModelError, match="second input"):
        compile(Two(), (images, images), "cpu")


def test_a_constant_output_is_refused() -> None:
    model = randomise(ConcatMSD())
    apply_masks(
        model,
        {
            n: torch.zeros(p.shape[:2], dtype=torch.bool)
            for n, p in model.named_parameters()
            if p.ndim == 4
        },
    )
    with torch.no_grad():
        for conv in model.convs:
            conv.bias.zero_()
    program = trace_program(model, pictures(1, 1, 8, 8))
    with torch.no_grad():
        model.last.weight  # noqa: B018  (it is masked too, but is never pruned by the planner)
    plan = plan_planes(program, present_by_mask(model))
    assert plan.program.planes == 9  # biases keep the planes alive
    no_head = nn.Conv2d(1, 2, 3, padding=1, bias=False)
    apply_masks(no_head, {"weight": torch.tensor([[True], [False]])})
    with pytest.raises(ModelError, match="constant"):
        compile(no_head, pictures(1, 1, 8, 8), "cpu")


def test_the_plan_leaves_out_what_no_output_needs() -> None:
    model = randomise(MSD(4, 1, 1))
    with torch.no_grad():
        model.convs[2].weight.zero_()
        model.convs[2].bias.zero_()
        model.final.weight[:, -1] = 0
    program = trace_program(model, pictures(1, 1, 8, 8))
    plan = plan_planes(program, present_by_value(program.tensors))
    assert plan.program.planes == 1 + 3  # a dead layer needs no plane; the last one has a reader
    assert 3 not in plan.program.source  # nothing reads the dead one


# --------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("backend", ["auto", "cpu", "reference"])
@pytest.mark.parametrize(
    ("images", "says"),
    [
        (torch.zeros(1, 3, 8, 8), "fails on example_inputs"),
        (torch.zeros(8, 8), "fails on example_inputs"),
        (torch.zeros(1, 1, 8, 8, dtype=torch.float64), "float64"),
        (torch.zeros(1, 1, 8, 8, dtype=torch.uint8), "uint8"),
        ([torch.zeros(1, 1, 8, 8)], "tensor or a tuple of tensors, not list"),
        ((), "tensor or a tuple of tensors"),
        ("picture", "not str"),
    ],
)
def test_bad_example_inputs(backend: str, images: object, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        compile.__wrapped__(MSD(3, 1, 2), images, backend)  # behind the tests' own type check


@pytest.mark.parametrize("backend", ["gpu", "", "CPU"])
def test_an_unknown_backend(backend: str) -> None:
    with pytest.raises(ConfigError, match="must be one of auto, reference, cpu"):
        compile(MSD(3, 1, 2), pictures(1, 1, 8, 8), backend)


@pytest.mark.parametrize("threads", [0, -1, True, 1.5, "2"])
def test_a_bad_number_of_threads(threads: object) -> None:
    with pytest.raises(ConfigError, match="whole number, at least 1"):
        check_threads.__wrapped__(threads)


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (torch.zeros(1, 2, 8, 8), r"takes \(batch, 1, height, width\)"),
        (torch.zeros(1, 8, 8), "takes"),
        (torch.zeros(1, 1, 8, 8, dtype=torch.float16), "float16"),
        (torch.zeros(1, 1, 0, 8), "no pixel"),
        (torch.zeros(0, 1, 8, 8), "no pixel"),
        (torch.zeros(1, 1, 8, 8, device="meta"), "meta"),
    ],
)
def test_bad_pictures_at_run_time(images: Tensor, says: str) -> None:
    fast = compile(randomise(MSD(3, 1, 2)), pictures(1, 1, 8, 8), "cpu", 1)
    with pytest.raises(ModelError, match=says):
        type(fast).forward.__wrapped__(fast, images)


def test_a_float64_model_runs_in_pytorch() -> None:
    model = randomise(MSD(3, 1, 2)).double()
    images = pictures(1, 1, 8, 8).double()
    with pytest.raises(ModelError, match="float64"):
        compile(model, images, "cpu")
    with torch.no_grad():
        assert torch.equal(compile(model, images)(images), model(images))


def test_a_data_dependent_model_runs_in_pytorch() -> None:
    class Branch(ConcatMSD):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if x.mean() > -100 else x

    model, images = randomise(Branch()), pictures(1, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(compile(model, images)(images), model(images))


def test_auto_takes_the_faster_one() -> None:
    model = randomise(MSD(10, 1, 2))
    mask_at_random(model, 0.1, 0, skip=("final",))
    assert isinstance(compile(model, pictures(1, 1, 64, 64), "auto", 1), PlaneNetwork)
