"""What all tests share: checked shapes, repeatable random inputs, the development data."""

import ast
import os
from pathlib import Path

import jaxtyping
import pytest
import torch
from hypothesis import HealthCheck, settings
from jaxtyping import _import_hook

COMPILED = {"vectorize", "guvectorize", "cfunc", "intrinsic"}
"""Numba's decorators: what they are put on is compiled, so the shape checks cannot wrap it."""

_is_excluded = _import_hook._is_no_type_check


def _is_excluded_or_compiled(node: ast.AST) -> bool:
    name = getattr(node, "id", getattr(node, "attr", None))
    if isinstance(name, str) and (name in COMPILED or name.endswith("jit")):
        return True
    return _is_excluded(node)


# jaxtyping wraps every function below all its other decorators, and Numba cannot compile the
# wrapper. The hook offers no way to leave functions out but `@no_type_check` in the source, so the
# test for that is widened; tests/test_hook.py checks that it works.
_import_hook._is_no_type_check = _is_excluded_or_compiled

# Every call into leanline checks its arguments and results against their annotations. This must
# come before the first import of leanline.
jaxtyping.install_import_hook("leanline", "beartype.beartype")

settings.register_profile(
    "leanline",
    deadline=None,  # compiled on the first call: the first example is slow
    derandomize=True,  # the same examples in every run
    database=None,
    suppress_health_check=[HealthCheck.too_slow],  # pictures are larger than hypothesis expects
)
settings.load_profile("leanline")

# pytest-xdist runs a process per core; more threads would only fight each other
torch.set_num_threads(1)

# no bars in the captured output
os.environ["LEANLINE_PROGRESS"] = "0"

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of the real data; the test is skipped where there is none."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the real data, which is not part of the repository: no {folder}")
    return folder
