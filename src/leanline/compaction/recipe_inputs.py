"""Example inputs as plain JSON: shapes and types of tensors in lists, tuples and dictionaries."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

LARGEST = 2**26
"""Elements of all example inputs together: a volume of 400 x 400 x 400. They are made and traced
when a file is loaded, whoever wrote it."""
_DEEPEST = 20
_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float32,
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.uint8,
        torch.int32,
        torch.int64,
        torch.bool,
    )
}
_PLAIN = (type(None), bool, int, float, str)


def write_inputs(arguments: tuple[Any, ...]) -> list[Any] | None:
    """The arguments of a network as JSON; None if they hold what JSON cannot.

    A tensor becomes [shape, type]; a container {"list": [...]}, {"tuple": [...]} or {"dict":
    {...}}; anything else {"value": ...}.
    """
    try:
        return [_write(argument) for argument in arguments]
    except TypeError:
        return None


def _write(value: Any) -> Any:
    if isinstance(value, Tensor):
        kind = str(value.dtype).removeprefix("torch.")
        if kind not in _DTYPES:
            raise TypeError(kind)
        return [list(value.shape), kind]
    if type(value) in (list, tuple):
        return {type(value).__name__: [_write(part) for part in value]}
    if type(value) is dict and all(isinstance(key, str) for key in value):
        return {"dict": {key: _write(part) for key, part in value.items()}}
    if type(value) in _PLAIN and (not isinstance(value, float) or math.isfinite(value)):
        return {"value": value}
    raise TypeError(type(value).__name__)


def check_inputs(data: Any) -> list[Any]:
    """Inputs as `write_inputs` wrote them, checked; nothing large is made.

    Raises:
        ValueError: they are not.
    """
    if not isinstance(data, list) or not data:
        raise ValueError(f"inputs {str(data)[:50]}")
    elements = sum(_count(argument, 0) for argument in data)
    if not 0 < elements <= LARGEST:
        raise ValueError(f"{elements} values of example inputs; {LARGEST} are allowed")
    return data


def _count(data: Any, depth: int) -> int:
    """Number of values in all tensors."""
    if depth > _DEEPEST:
        raise ValueError("containers in containers in the inputs")
    if isinstance(data, list):
        if len(data) != 2 or data[1] not in _DTYPES:
            raise ValueError(f"input {str(data)[:50]}")
        return _elements(data[0])
    if not isinstance(data, dict) or len(data) != 1:
        raise ValueError(f"input {str(data)[:50]}")
    ((kind, content),) = data.items()
    if kind == "value" and type(content) in _PLAIN:
        return 0
    if kind == "dict" and isinstance(content, dict):
        return sum(_count(part, depth + 1) for part in content.values())
    if kind in ("list", "tuple") and isinstance(content, list):
        return sum(_count(part, depth + 1) for part in content)
    raise ValueError(f"input {str(data)[:50]}")


def _elements(shape: Any) -> int:
    if not isinstance(shape, list) or any(type(size) is not int for size in shape):
        raise ValueError(f"input shape {str(shape)[:50]}")
    if not 1 <= len(shape) <= 6 or not all(1 <= size <= LARGEST for size in shape):
        raise ValueError(f"input shape {str(shape)[:50]}")
    return math.prod(shape)


def make_inputs(data: list[Any]) -> tuple[Any, ...]:
    """Arguments of the checked shapes; tensors are zeros."""
    return tuple(map(_make, data))


def _make(data: Any) -> Any:
    if isinstance(data, list):
        return torch.zeros(data[0], dtype=_DTYPES[data[1]])
    ((kind, content),) = data.items()
    if kind == "value":
        return content
    if kind == "dict":
        return {key: _make(part) for key, part in content.items()}
    return (list if kind == "list" else tuple)(map(_make, content))
