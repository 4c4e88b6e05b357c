"""The Lipschitz constants of the registry against the functions themselves."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from leanline.graph.operations import UNARY

ARGUMENTS: Mapping[str, list[dict[str, Any]]] = {
    "hardtanh": [{}, {"min_val": -2.0, "max_val": 0.5}],
    "clamp": [{"min": -1.0, "max": 2.0}, {"min": 0.0}, {"max": 3.0}],
    "clamp_min": [{"min": 0.0}, {"min": -1.5}],
    "clamp_max": [{"max": 0.0}, {"max": 1.5}],
    "leaky_relu": [{}, {"negative_slope": 0.2}, {"negative_slope": 1.7}, {"negative_slope": -2.0}],
    "elu": [
        {},
        {"alpha": 0.3},
        {"alpha": 2.5},
        {"alpha": 1.6732632423543772, "scale": 1.0507009873554805},
        {"alpha": 0.5, "scale": 2.0, "input_scale": 3.0},
    ],
    "celu": [{}, {"alpha": 0.2}, {"alpha": 3.0}],
    "gelu": [{}, {"approximate": "tanh"}],
}
CASES = [(name, arguments) for name in UNARY for arguments in ARGUMENTS.get(name, [{}])]


def constant(name: str, arguments: Mapping[str, Any]) -> float:
    found = UNARY[name](arguments)
    assert found is not None
    return found


def evaluate(name: str, arguments: Mapping[str, Any], x: Tensor) -> Tensor:
    result = getattr(torch.ops.aten, name)(x, **arguments)
    assert isinstance(result, Tensor)
    return result


@pytest.mark.parametrize("name, arguments", CASES)
def test_the_constant_is_the_largest_slope(name: str, arguments: dict[str, Any]) -> None:
    # 30 on each side, closer than the width of any maximum; not at 0 itself, where some have a kink
    x = (torch.arange(-600_000, 600_000, dtype=torch.float64) + 0.5) * 5e-5
    x.requires_grad_()
    slope = torch.autograd.grad(evaluate(name, arguments, x).sum(), x)[0].abs().max()
    assert float(slope) <= constant(name, arguments) * (1 + 1e-7)
    assert float(slope) >= constant(name, arguments) * (1 - 1e-4)  # e^x, 2.5e-5 away from its kink


@pytest.mark.parametrize("name, arguments", CASES)
def test_no_pair_exceeds_it_and_zero_stays(name: str, arguments: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = 4 * torch.randn(2, 200_000, dtype=torch.float64, generator=generator)
    b[::2] = a[::2] + 1e-3 * b[::2]  # near pairs see slopes, far ones chords
    change = (evaluate(name, arguments, a) - evaluate(name, arguments, b)).abs()
    assert bool((change <= constant(name, arguments) * (a - b).abs() * (1 + 1e-7) + 1e-12).all())
    assert float(evaluate(name, arguments, torch.zeros(1, dtype=torch.float64))) == 0


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("clamp", {"min": 0.5}),
        ("clamp_min", {"min": 1.0}),
        ("clamp_max", {"max": -1.0}),
        ("hardtanh", {"min_val": 0.1, "max_val": 2.0}),
    ],
)
def test_functions_that_move_zero_have_none(name: str, arguments: dict[str, Any]) -> None:
    assert UNARY[name](arguments) is None
    assert float(evaluate(name, arguments, torch.zeros(1))) != 0
