"""What every backend of the plane kernels must satisfy, against plain PyTorch in float64."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from torch import Tensor
from torch.overrides import TorchFunctionMode

from leanline.kernels.ops import planes_forward, planes_infer
from leanline.kernels.program import PlaneProgram
from leanline.kernels.reference import run_reference
from plane_programs import Case, assert_close, cases

Backend = Callable[..., Tensor]
NAMES = ("images", "taps", "bias", "head", "head bias")


class ReluInputs(TorchFunctionMode):
    """Notes how near to 0, relative to the largest, the inputs of ReLUs come."""

    nearest = 1.0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.relu:
            sizes = args[0].detach().abs()
            self.nearest = min(self.nearest, float(sizes.min() / max(sizes.max(), 1e-30)))
        return func(*args, **(kwargs or {}))


def reference(program: PlaneProgram, *numbers: Tensor, threads: int) -> Tensor:
    return run_reference(program, *numbers)


def cpu(program: PlaneProgram, *numbers: Tensor, threads: int) -> Tensor:
    return planes_forward(*numbers, program.encode(), threads)[0]


def cpu_inference(program: PlaneProgram, *numbers: Tensor, threads: int) -> Tensor:
    return planes_infer(*numbers, program.encode(), threads)


DIFFERENTIABLE = [reference, cpu]
BACKENDS = [*DIFFERENTIABLE, cpu_inference]


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=150)
@given(case=cases())
def test_output_equals_dense_pytorch_in_float64(backend: Backend, case: Case) -> None:
    with torch.no_grad():
        want = run_reference(case.program, *case.cast(torch.float64))
        have = backend(case.program, *case.numbers, threads=case.threads)
    assert have.dtype == torch.float32
    assert_close(have, want, "output")


@pytest.mark.parametrize("backend", DIFFERENTIABLE)
@settings(max_examples=150)
@given(case=cases())
def test_all_gradients_equal_those_of_dense_pytorch_in_float64(
    backend: Backend, case: Case
) -> None:
    exact, given_numbers = case.cast(torch.float64), case.cast(torch.float32)
    with ReluInputs() as gates:
        want = run_reference(case.program, *exact)
    assume(gates.nearest > 3e-6)  # else rounding decides whether a gradient passes
    generator = torch.Generator().manual_seed(1)
    upstream = torch.randn(want.shape, generator=generator)
    wanted = torch.autograd.grad(want, exact, upstream.double(), allow_unused=True)
    output = backend(case.program, *given_numbers, threads=case.threads)
    found = torch.autograd.grad(output, given_numbers, upstream, allow_unused=True)
    for name, have, expected in zip(NAMES, found, wanted, strict=True):
        if expected is None:  # nothing depends on it
            assert have is None or not have.any(), name
        elif have is None:
            assert not expected.any(), name
        else:
            assert_close(have, expected, f"gradient of {name}")
