"""Every call into leanline checks its arguments and results against their annotations.

`install` must run before the first import of leanline; conftest.py sees to that.
"""

import ast
import sys
from typing import TypeVar

import beartype
import jaxtyping
from jaxtyping import _import_hook

Checked = TypeVar("Checked")

COMPILERS = {"vectorize", "guvectorize", "cfunc", "intrinsic"}
"""Numba's decorators, beside those whose name ends in "jit"."""

_configuration = beartype.BeartypeConf(
    is_pep484_tower=True  # an int may stand where a float is wanted, as for mypy
)
_is_excluded = _import_hook._is_no_type_check


def check(checked: Checked) -> Checked:
    """Check the calls of a function, or of the methods of a class."""
    return beartype.beartype(conf=_configuration)(checked)


def _is_excluded_or_compiled(decorator: ast.AST) -> bool:
    name = getattr(decorator, "id", getattr(decorator, "attr", ""))
    return name in COMPILERS or name.endswith("jit") or _is_excluded(decorator)


def install(package: str) -> _import_hook.ImportHookManager:
    """Check everything that is imported from a package from now on."""
    # The hook wraps a function below all its other decorators, and Numba cannot compile the
    # wrapper. Only `@no_type_check` in the source would leave a function out, so the hook's test
    # for that is widened to Numba's decorators; test_shape_checks.py checks that it works.
    _import_hook._is_no_type_check = _is_excluded_or_compiled
    # the hook wants the checker by a name that it can import
    sys.modules.setdefault("shape_checks", sys.modules[__name__])
    return jaxtyping.install_import_hook(package, "shape_checks.check")
