"""What every backend of the plane kernels must satisfy, against plain PyTorch in float64."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, currently_in_test_context, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from leanline.kernels import gpu
from leanline.kernels.ops import planes_forward, planes_infer
from leanline.kernels.program import PlaneProgram
from leanline.kernels.reference import run_reference
from leanline.kernels.registry import register
from leanline.kernels.windows import CONVOLVE, LARGEST, SPREAD, Window
from plane_programs import Case, Draft, assert_close, drafts, make_case

Backend = Callable[..., list[Tensor]]
NAMES = ("taps", "bias", "head", "head bias")


class Decisions(TorchFunctionMode):
    """Notes how near to each other, relative to the largest, values come that are compared."""

    nearest = 1.0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.relu:
            self.note(args[0].detach().abs(), args[0])
        if func is functional.max_pool2d and kwargs:
            (source, size), stride, dilation = args, kwargs["stride"], kwargs["dilation"]
            finite = source.detach().nan_to_num(neginf=-1e6)
            windows = functional.unfold(finite, size, dilation, 0, stride)
            if windows.shape[1] > 1:
                best = windows.topk(2, 1).values
                gaps = best[:, 0] - best[:, 1]
                self.note(gaps[gaps > 0], source[source.isfinite()])
        return func(*args, **(kwargs or {}))

    def note(self, gaps: Tensor, values: Tensor) -> None:
        if gaps.numel():
            scale = max(float(values.detach().abs().max()), 1e-30)
            self.nearest = min(self.nearest, float(gaps.min()) / scale)


def reference(
    program: PlaneProgram, images: list[Tensor], *numbers: Tensor, threads: int
) -> list[Tensor]:
    return run_reference(program, images, *numbers)


def cpu(
    program: PlaneProgram, images: list[Tensor], *numbers: Tensor, threads: int
) -> list[Tensor]:
    return planes_forward(images, *numbers, register(program), threads)[:-1]


def cpu_inference(
    program: PlaneProgram, images: list[Tensor], *numbers: Tensor, threads: int
) -> list[Tensor]:
    return planes_infer(images, *numbers, register(program), threads)


class InInterpreter(torch.autograd.Function):
    """The GPU's kernels on tensors of the CPU."""

    @staticmethod
    def forward(ctx: Any, program: PlaneProgram, count: int, *tensors: Tensor) -> Any:
        images, numbers = tensors[:count], tensors[count:]
        outputs, activations = gpu.forward(program, images, numbers)
        ctx.program, ctx.count = program, count
        ctx.save_for_backward(activations, *tensors)
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        activations, *tensors = ctx.saved_tensors
        images, numbers = tensors[: ctx.count], tuple(tensors[ctx.count :])
        found, of_images = gpu.backward(ctx.program, grads, activations, images, numbers, True)
        return (None, None, *of_images, *found)


def on_gpu(
    program: PlaneProgram, images: list[Tensor], *numbers: Tensor, threads: int
) -> list[Tensor]:
    if not torch.cuda.is_available():
        return list(InInterpreter.apply(program, len(images), *images, *numbers))
    moved = [t.cuda() for t in images], *(t.cuda() for t in numbers)
    return [t.cpu() for t in planes_forward(*moved, register(program), threads)[:-1]]


def on_gpu_inference(
    program: PlaneProgram, images: list[Tensor], *numbers: Tensor, threads: int
) -> list[Tensor]:
    if not torch.cuda.is_available():
        return gpu.infer(program, images, numbers)
    moved = [t.cuda() for t in images], *(t.cuda() for t in numbers)
    return [t.cpu() for t in planes_infer(*moved, register(program), threads)]


DIFFERENTIABLE = [reference, cpu]
BACKENDS = [*DIFFERENTIABLE, cpu_inference]

SMALL = drafts(sizes=st.sampled_from([1, 2, 3, 5, 9, 16, 21]), planes=5, batch=2)
"""For the interpreter, which is slow. (A block of pixels is more than one of these pictures.)"""


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=100)
@given(draft=drafts())
def test_output_equals_dense_pytorch_in_float64(backend: Backend, draft: Draft) -> None:
    check_output(backend, draft)


@pytest.mark.parametrize("backend", [on_gpu, on_gpu_inference])
@settings(max_examples=8)
@given(draft=SMALL)
def test_output_on_a_gpu(backend: Backend, draft: Draft) -> None:
    check_output(backend, draft)


def check_output(backend: Backend, draft: Draft) -> None:
    case = draft.make()
    images, numbers = case.cast(torch.float64)
    with torch.no_grad():
        wanted = run_reference(case.program, images, *numbers)
        found = backend(case.program, list(case.images), *case.numbers, threads=case.threads)
    for index, (have, want) in enumerate(zip(found, wanted, strict=True)):
        assert have.dtype == torch.float32
        assert_close(have, want, f"output {index}")


@pytest.mark.parametrize("backend", DIFFERENTIABLE)
@settings(max_examples=100)
@given(draft=drafts())
def test_all_gradients_equal_those_of_dense_pytorch_in_float64(
    backend: Backend, draft: Draft
) -> None:
    check_gradients(backend, draft.make())


@settings(max_examples=8)
@given(draft=SMALL)
def test_all_gradients_on_a_gpu(draft: Draft) -> None:
    check_gradients(on_gpu, draft.make())


CONVOLUTION = Window(CONVOLVE, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1)
OTHERS = {"largest": Window(LARGEST, 2, 2, 2, 2), "spread": Window(SPREAD, 2, 2, 2, 2)}


@pytest.mark.parametrize("padding", ["zeros", "replicate", "reflect"])
@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("place", [0, 1])
def test_gradients_of_a_gated_plane_that_windows_of_two_kinds_read(
    padding: str, other: str, place: int
) -> None:
    windows = [CONVOLUTION]
    windows.insert(place, OTHERS[other])
    program = PlaneProgram(
        inputs=np.asarray([(0, 1)]),
        grid=np.asarray([0, 0, 0, 1]),
        windows=np.asarray([window.row for window in windows]),
        steps=np.asarray(
            [(1, 1 - place, 0, 1, 1, 0), (2, 1 - place, 1, 2, 0, 0), (3, place, 2, 3, 0, 0)]
        ),
        source=np.asarray([0, 1, 1]),
        outputs=(np.asarray([2]), np.asarray([3])),
        head=np.zeros(0, np.int64),
        head_outputs=0,
        padding=padding,
    )
    check_gradients(cpu, make_case(program, 1, [(8, 12)], 4))


def check_gradients(backend: Backend, case: Case) -> None:
    exact_images, exact_numbers = case.cast(torch.float64)
    images, numbers = case.cast(torch.float32)
    with Decisions() as decisions:
        wants = run_reference(case.program, exact_images, *exact_numbers)
    clear = decisions.nearest > 3e-6  # else rounding decides whether a gradient passes
    assert assume(clear) if currently_in_test_context() else clear
    generator = torch.Generator().manual_seed(1)
    upstream = [torch.randn(want.shape, generator=generator) for want in wants]
    wanted = torch.autograd.grad(
        wants, [*exact_images, *exact_numbers], [u.double() for u in upstream], allow_unused=True
    )
    outputs = backend(case.program, images, *numbers, threads=case.threads)
    found = torch.autograd.grad(outputs, [*images, *numbers], upstream, allow_unused=True)
    names = (*(f"image {i}" for i in range(len(images))), *NAMES)
    for name, have, expected in zip(names, found, wanted, strict=True):
        if expected is None:  # nothing depends on it
            assert have is None or not have.any(), name
        elif have is None:
            assert not expected.any(), name
        else:
            assert_close(have, expected, f"gradient of {name}")
