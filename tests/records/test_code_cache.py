import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numba
import pytest

import leanline
from leanline.records.code_cache import cache_folder, source_hash

SOURCE = Path(leanline.__file__).parent
PACKAGES = {  # sources, the module and a compiled function of it
    "kernels": (SOURCE / "kernels", "leanline.kernels.image", "forward_image"),
    "tuning": (SOURCE / "tuning" / "compiled", "leanline.tuning.compiled.gate", "evaluate"),
}


def test_the_hash_follows_every_source(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    first = source_hash(tmp_path)
    assert first == source_hash(tmp_path)
    (tmp_path / "b.py").write_text("")
    second = source_hash(tmp_path)
    (tmp_path / "a.py").write_text("x = 2\n")
    assert len({first, second, source_hash(tmp_path)}) == 3


@pytest.mark.parametrize("name", PACKAGES)
def test_numbas_own_setting_is_as_before(name: str) -> None:
    before = os.environ.get("NUMBA_CACHE_DIR", "")
    assert import_module(PACKAGES[name][1])
    assert before == numba.config.CACHE_DIR


def _import(name: str, **environment: str) -> str:
    _, module, function = PACKAGES[name]
    code = (
        f"import numba, {module} as k\n"
        f"print(k.{function}._cache.cache_path)\n"
        "print(repr(numba.config.CACHE_DIR))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("name", PACKAGES)
def test_the_cache_of_a_package_is_in_a_folder_of_its_version(name: str, tmp_path: Path) -> None:
    folder, setting = _import(name, NUMBA_CACHE_DIR=str(tmp_path / "own")).split()
    version = f"{name}-{source_hash(PACKAGES[name][0])}"
    assert folder.startswith(str(tmp_path / "own" / "leanline" / version))
    assert setting == repr(str(tmp_path / "own"))


def test_respects_the_users_cache_folder(tmp_path: Path) -> None:
    folder, setting = _import(
        "kernels", NUMBA_CACHE_DIR="", XDG_CACHE_HOME=str(tmp_path / "xdg")
    ).split()
    if sys.platform == "linux":
        assert folder.startswith(str(tmp_path / "xdg" / "leanline"))
    assert setting == "''"


def test_without_a_writable_folder_a_private_one_is_used_and_removed(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    folder, _ = _import("kernels", NUMBA_CACHE_DIR=str(blocked / "below")).split()
    assert not folder.startswith(str(tmp_path))
    assert "leanline-kernels-" in folder
    assert not Path(folder).exists()


def test_the_folder_is_writable(tmp_path: Path) -> None:
    folder = cache_folder("test", tmp_path)
    assert os.access(folder, os.W_OK)
    folder.rmdir()
