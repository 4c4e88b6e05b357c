"""The shape checks that conftest.py switches on: they reach leanline and spare compiled code."""

import importlib
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch

import shape_checks
from leanline.records.progress import bar
from leanline.records.tensors import save_tensors

EXAMPLE = """
import numba
import numpy as np
from jaxtyping import Float

@numba.njit(fastmath=True)
def total(values):
    return values.sum()

def checked(values: Float[np.ndarray, "n"], others: Float[np.ndarray, "n"]) -> float:
    return total(values) + total(others)
"""


def test_wrong_types_are_refused(tmp_path: Path) -> None:
    with pytest.raises(jaxtyping.TypeCheckError):
        save_tensors(tmp_path / "x", {"x": [1.0]})
    with pytest.raises(jaxtyping.TypeCheckError):
        save_tensors(3.0, {"x": torch.ones(1)})


def test_an_int_is_a_float() -> None:
    with bar("a float is wanted", total=3):
        pass


def test_shapes_are_checked_and_compiled_functions_spared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "compiled_example.py").write_text(EXAMPLE)
    monkeypatch.syspath_prepend(tmp_path)
    with shape_checks.install("compiled_example"):
        example = importlib.import_module("compiled_example")
    assert example.checked(np.ones(3), np.ones(3)) == 6
    with pytest.raises(jaxtyping.TypeCheckError):
        example.checked(np.ones(3), np.ones(4))
