"""Traced programs, run step by step, must give what the model gives."""

import operator
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leanline.errors import ModelError
from leanline.graph import Operation, Program, find_live, trace_program
from leanline.graph.replay import Replay
from leanline.masks import apply_masks, get_masks


def run_step(program: Program, step: Operation, inputs: list[Tensor]) -> Tensor:
    """Meaning of one operation, in plain PyTorch."""
    own = {role: program.tensors[name] for role, name in step.parameters.items()}
    s = dict(step.settings)
    match step.kind:
        case "zeros":
            return torch.zeros(step.shape)
        case "convolution":
            weight, axes = own["weight"], own["weight"].ndim - 2
            if s["transposed"]:
                function = getattr(F, f"conv_transpose{axes}d")
                return function(
                    inputs[0],
                    weight,
                    own.get("bias"),
                    s["stride"],
                    s["padding"],
                    s["output_padding"],
                    s["groups"],
                    s["dilation"],
                )
            function = getattr(F, f"conv{axes}d")
            rest = (s["stride"], s["padding"], s["dilation"], s["groups"])
            return function(inputs[0], weight, own.get("bias"), *rest)
        case "linear":
            return F.linear(inputs[0], own["weight"], own.get("bias"))
        case "batch_norm":
            affine = (own.get("weight"), own.get("bias"))
            statistics = (own["running_mean"], own["running_var"])
            return F.batch_norm(inputs[0], *statistics, *affine, eps=s["eps"])
        case "unary" | "pool" | "resample" if step.node is not None:
            if s["function"] == "scale":
                return inputs[0] * s["factor"]
            replace = iter([*inputs, *own.values()])
            arguments = torch.fx.map_arg(step.node.args, lambda _: next(replace))
            result = step.node.target(*arguments, **step.node.kwargs)  # type: ignore[operator]
            return result[0] if isinstance(result, tuple) else result
        case "pad":
            value = {"value": 0.0} if s["mode"] == "constant" else {}
            return F.pad(inputs[0], s["padding"], s["mode"], **value)
        case "add":
            return inputs[0] + s["alpha"] * inputs[1]
        case "concat":
            return torch.cat(inputs, 1)
        case "slice":
            return inputs[0][:, s["start"] : s["stop"] : s["step"]]
        case "identity" | "output":
            return inputs[0]
    raise AssertionError(f"{step.kind} has no meaning here")


def run(program: Program, *images: Tensor) -> list[Tensor]:
    results: list[Tensor] = []
    given = iter(images)
    for step in program.operations:
        inputs = [results[source] for source in step.inputs]
        result = next(given) if step.kind == "input" else run_step(program, step, inputs)
        assert tuple(result.shape) == step.shape
        results.append(result)
    return [results[step.index] for step in program.operations if step.kind == "output"]


class Lambda(nn.Module):
    """A few layers and a forward function given as a value."""

    def __init__(self, forward: Callable[..., object], **layers: nn.Module) -> None:
        super().__init__()
        self.function = forward
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, *images: Tensor) -> object:
        return self.function(self, *images)


def buffer_network(self: Lambda, x: Tensor) -> Tensor:
    """Mixed-scale dense style: every layer writes into one preallocated buffer."""
    buffer = x.new_zeros(x.shape[0], 4, *x.shape[2:])
    buffer[:, :2] = x
    buffer[:, 2:3] = F.relu(self.a(buffer[:, :2]))
    buffer[:, 3:] = F.relu(self.b(buffer[:, :3]))
    return self.c(buffer)


def inplace_network(self: Lambda, x: Tensor) -> Tensor:
    y = self.a(x)
    z = y
    left, right = z.chunk(2, 1)
    F.hardswish(right, inplace=True)
    y += self.a(x)
    return torch.cat([F.relu_(left), right, y[:, 1:3]], dim=-3)


conv = nn.Conv2d
CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "plain": (lambda: nn.Sequential(conv(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU()), (2, 2, 8, 8)),
    "grouped": (lambda: conv(4, 6, 3, groups=2, padding=1, dilation=2), (1, 4, 9, 7)),
    "same": (lambda: conv(2, 3, (4, 3), padding="same", dilation=(1, 2)), (1, 2, 8, 8)),
    "replicate": (lambda: conv(2, 3, 3, padding=2, padding_mode="replicate"), (1, 2, 8, 8)),
    "reflect": (lambda: conv(2, 3, 3, padding=2, padding_mode="reflect"), (1, 2, 8, 8)),
    "circular": (lambda: conv(2, 3, 3, padding=2, padding_mode="circular"), (1, 2, 8, 8)),
    "strided": (lambda: conv(2, 3, 3, stride=(2, 1), bias=False), (1, 2, 8, 8)),
    "transposed": (
        lambda: nn.ConvTranspose2d(2, 4, 3, stride=2, padding=1, output_padding=1, groups=2),
        (1, 2, 5, 5),
    ),
    "one axis": (lambda: nn.Sequential(nn.Conv1d(2, 3, 3), nn.ConvTranspose1d(3, 1, 2)), (1, 2, 9)),
    "three axes": (
        lambda: nn.Sequential(nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2), nn.MaxPool3d(2)),
        (1, 1, 6, 6, 6),
    ),
    "activations": (
        lambda: nn.Sequential(
            nn.LeakyReLU(0.2),
            nn.GELU(),
            nn.GELU("tanh"),
            nn.SiLU(inplace=True),
            nn.Tanh(),
            nn.Hardswish(),
            nn.ELU(),
            nn.ReLU6(),
            nn.Mish(),
            nn.SELU(),
            nn.CELU(0.5),
            nn.PReLU(2),
            nn.Hardtanh(-2, 2),
            nn.Dropout(0.5),
            nn.Dropout2d(0.5),
            nn.Identity(),
        ),
        (1, 2, 6, 6),
    ),
    "pooling": (
        lambda: nn.Sequential(
            nn.MaxPool2d(3, 2, 1),
            nn.AvgPool2d(2),
            nn.Upsample(scale_factor=3),
            nn.AdaptiveMaxPool2d(5),
            nn.Upsample(size=(7, 9), mode="bilinear", align_corners=True),
            nn.Upsample(scale_factor=2, mode="bicubic"),
            nn.ZeroPad2d((1, 0, 2, -1)),
            nn.AdaptiveAvgPool2d(4),
        ),
        (1, 2, 16, 16),
    ),
    "buffer": (
        lambda: Lambda(
            buffer_network, a=conv(2, 1, 3, padding=1), b=conv(3, 1, 1), c=conv(4, 2, 1)
        ),
        (1, 2, 6, 6),
    ),
    "in place": (lambda: Lambda(inplace_network, a=conv(2, 4, 1)), (1, 2, 6, 6)),
    "crop and split": (
        lambda: Lambda(
            lambda m, x: (
                x.split([1, 3], 1)[1][..., 1:-2],
                x.narrow(1, 1, 2) - 2 * x[:, ::2],
                x / 4,
            )
        ),
        (1, 4, 6, 7),
    ),
    "global pooling": (lambda: Lambda(lambda m, x: x.mean((2, 3), keepdim=True)), (2, 3, 5, 5)),
    "linear": (
        lambda: nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2, bias=False)),
        (3, 6),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_program_means_what_the_model_does(case: str) -> None:
    build, shape = CASES[case]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build()
        for part in model.modules():
            if isinstance(part, nn.BatchNorm2d | nn.BatchNorm3d):
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2)
        image = torch.randn(shape)
    program = trace_program(model, image)
    assert program.frozen == ()
    assert model.training
    with torch.no_grad():
        expected = model.eval()(image)
        expected = expected if isinstance(expected, tuple) else (expected,)
        found = run(program, image)
    assert len(found) == len(expected)
    for left, right in zip(found, expected, strict=True):
        torch.testing.assert_close(left, right)


def test_modules_and_names() -> None:
    model = nn.Sequential(nn.Sequential(conv(1, 2, 3), nn.BatchNorm2d(2)), conv(2, 1, 1))
    program = trace_program(model, torch.zeros(1, 1, 5, 5))
    steps = {step.module: step for step in program.operations if step.parameters}
    assert dict(steps["0.0"].parameters) == {"weight": "0.0.weight", "bias": "0.0.bias"}
    assert steps["0.1"].parameters["running_var"] == "0.1.running_var"
    assert set(program.tensors) == set(model.state_dict())
    assert program.tracer == "torch.export"
    assert {step.module for step in program.uses["1.weight"]} == {"1"}


def test_masks_are_baked_and_reported() -> None:
    model = nn.Sequential(conv(2, 3, 3), conv(3, 1, 1))
    kept = torch.tensor([[True, False], [False, True], [True, True]])
    apply_masks(model, {"0.weight": kept})
    keys = list(model.state_dict())
    program = trace_program(model, torch.zeros(1, 2, 5, 5))
    assert torch.equal(program.kept["0.weight"], kept)
    assert (program.tensors["0.weight"][~kept] == 0).all()
    assert list(model.state_dict()) == keys
    assert torch.equal(get_masks(model)["0.weight"], kept)


def test_shared_convolution_has_one_name() -> None:
    model = nn.Sequential(conv(2, 2, 1), nn.ReLU(), conv(2, 2, 1))
    model[2].weight = model[0].weight
    program = trace_program(model, torch.zeros(1, 2, 4, 4))
    assert len(program.uses["0.weight"]) == 2
    again = nn.Sequential(model[0], nn.ReLU(), model[0])
    assert len(trace_program(again, torch.zeros(1, 2, 4, 4)).uses["0.weight"]) == 2


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.softmax(1),
        lambda x: x.topk(1, dim=1)[0],
        lambda x: x.cumsum(1),
        lambda x: torch.fft.rfft2(x).real,
        lambda x: x @ x,
        lambda x: x.argmax(1),
        lambda x: F.pad(x, (0, 0, 0, 0, 1, 1), value=1.0),
        lambda x: F.pad(x.flatten(2), (1, 1), value=torch.inf) / 0,
        lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2),
    ],
)
def test_everything_else_is_opaque_and_named(function: Callable[[Tensor], Tensor]) -> None:
    model = Lambda(lambda m, x: function(m.a(x)), a=conv(2, 4, 1))
    program = trace_program(model, torch.rand(1, 2, 4, 4))
    assert program.frozen
    opaque = [step for step in program.operations if step.kind == "opaque"]
    assert any(step.inputs for step in opaque)
    named = {item.name for item in program.frozen}
    assert {step.name for step in opaque if step.node.target is not operator.getitem} == named


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: F.relu_(m.a(x)).add_(1).mul_(m.a(x)),
        lambda m, x: [y := m.a(x), z := y.relu(), y.add_(z)][2],
        lambda m, x: [y := m.a(x), F.relu_(y), y + 1][2],
        lambda m, x: [y := m.a(x), z := y.view(1, -1), F.relu_(y), z + 1][3],
        lambda m, x: [y := m.a(x), z := F.dropout(y, 0.5, False), F.relu_(z), y + 1][3],
        lambda m, x: [y := m.a(x), z := y[:, :1], z.mul_(3), y + 1][3],
        lambda m, x: [y := m.a(x), z := y.contiguous(), z.neg_(), y + z][3],
        lambda m, x: [y := m.a(x), y.neg_(), y.relu_(), F.avg_pool2d(y, 2)][3],
        lambda m, x: [y := m.a(x), y.transpose(2, 3).copy_(x), y + 0][2],
    ],
)
def test_writes_in_place_mean_what_they_do(function: Callable[..., Tensor]) -> None:
    torch.manual_seed(0)
    model = Lambda(function, a=conv(2, 2, 3, padding=1))
    program = trace_program(model, torch.randn(1, 2, 6, 6))
    nodes = program.module.graph.nodes
    assert not any(
        str(node.target).split(".")[1].endswith("_") for node in nodes if "aten" in str(node.target)
    )
    image = torch.randn(1, 2, 6, 6)
    values = {node: program.tensors[name] for node, name in program.names.items()}
    blank = [None for node in nodes if node.op == "placeholder"]
    found = Replay(program.module, values, [image]).run(*blank, enable_io_processing=False)
    with torch.no_grad():
        torch.testing.assert_close(found[-1], model(image))


def test_outputs_that_depend_on_no_input() -> None:
    for function in (lambda y: float(y.sum()), lambda y: torch.ones(3)):
        model = Lambda(lambda m, x, function=function: function(m.a(x)), a=conv(2, 2, 1))
        with pytest.raises(ModelError, match="no output depends on the inputs, as far as"):
            trace_program(model, torch.rand(1, 2, 4, 4))


def test_three_tracers_are_tried_and_failures_are_short() -> None:
    calls = []

    def moody(m: Lambda, x: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) != 2:
            raise RuntimeError("not now" * 100)
        return m.a(x)

    pattern = r"traced; torch\.export: .*torch\.export strict: .*recorder: "
    with pytest.raises(ModelError, match=pattern) as failure:
        trace_program(Lambda(moody, a=conv(2, 2, 1)), torch.rand(1, 2, 4, 4))
    assert len(str(failure.value)) < 1500


def test_models_that_change_between_calls() -> None:
    calls = []

    def fickle(m: Lambda, x: Tensor) -> Tensor:
        calls.append(1)
        return m.a(x) if len(calls) % 2 else m.b(x)

    model = Lambda(fickle, a=conv(2, 2, 1), b=conv(2, 2, 1))
    with pytest.raises(ModelError, match="changes from call to call"):
        trace_program(model, torch.rand(1, 2, 4, 4))


def test_bad_models_and_inputs() -> None:
    model = nn.Sequential(conv(2, 3, 3))
    with pytest.raises(ModelError, match=r"fails on example_inputs of \(1, 5, 8, 8\).*channels"):
        trace_program(model, torch.zeros(1, 5, 8, 8))
    with torch.no_grad():
        model[0].weight[0, 0] = torch.nan
    with pytest.raises(ModelError, match=r"0\.weight"):
        trace_program(model, torch.zeros(1, 2, 8, 8))


def test_infinite_buffers_that_no_norm_is_taken_of_are_no_harm() -> None:
    model = Lambda(lambda m, x: (m.a(x).flatten(2) + m.mask).softmax(2), a=conv(2, 3, 1))
    model.register_buffer("mask", torch.zeros(64).index_fill(0, torch.tensor([1]), -torch.inf))
    assert trace_program(model, torch.rand(1, 2, 8, 8)).frozen == ()


def test_places_of_maxima_depend_on_what_is_pooled() -> None:
    def unpool(m: Lambda, x: Tensor) -> Tensor:
        pooled, places = F.max_pool2d(m.a(x), 2, return_indices=True)
        return F.max_unpool2d(m.b(pooled), places, 2)

    program = trace_program(
        Lambda(unpool, a=conv(2, 3, 1), b=conv(3, 3, 1)), torch.rand(1, 2, 8, 8)
    )
    masks = {"b.weight": np.zeros((3, 3), bool)}
    assert find_live(program, masks).filters["a.weight"].all()


def test_the_model_is_untouched() -> None:
    model = nn.Sequential(conv(2, 3, 3), nn.BatchNorm2d(3), nn.Dropout())
    model(torch.rand(1, 2, 8, 8)).sum().backward()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    gradient = model[0].weight.grad
    state = torch.get_rng_state()
    trace_program(model, torch.rand(1, 2, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert model[0].weight.grad is gradient and model[0].weight.requires_grad
    assert all(part.training for part in model.modules())
