"""The package as a whole: what it exports, and that its parts agree."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import leanline

PACKAGE = Path(leanline.__file__).parent
ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("name", leanline.__all__)
def test_every_export_loads(name: str) -> None:
    assert getattr(leanline, name) is not None


def test_the_list_of_exports_is_complete() -> None:
    stub = ast.parse((PACKAGE / "__init__.pyi").read_text())
    imported = {
        alias.asname or alias.name
        for node in ast.walk(stub)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    (listed,) = (ast.literal_eval(node.value) for node in stub.body if isinstance(node, ast.Assign))
    assert imported == set(listed)


def test_no_export_is_hidden_by_a_package() -> None:
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix in ("", ".py")}
    for name in parts & set(leanline.__all__):
        module = importlib.import_module(f"leanline.{name}")
        assert getattr(leanline, name) is module, f"leanline.{name} is a package and something else"


def test_importing_loads_no_more_than_needed() -> None:
    code = "import leanline, sys; leanline.__version__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_changelog_knows_the_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## \[?(\d+\.\d+\.\d+)", changelog, re.MULTILINE)
    assert versions[0] == leanline.__version__
