import os
import subprocess
import sys
from pathlib import Path

import numba

import leanline.kernels.ops
from leanline.kernels.cache import cache_folder, source_hash


def test_the_hash_follows_every_source(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    first = source_hash(tmp_path)
    assert first == source_hash(tmp_path)
    (tmp_path / "b.py").write_text("")
    second = source_hash(tmp_path)
    (tmp_path / "a.py").write_text("x = 2\n")
    assert len({first, second, source_hash(tmp_path)}) == 3


def test_numbas_own_setting_is_as_before() -> None:
    before = os.environ.get("NUMBA_CACHE_DIR", "")
    assert leanline.kernels.ops and before == numba.config.CACHE_DIR


def _import(**environment: str) -> str:
    code = (
        "import numba, leanline.kernels as k\n"
        "print(k.forward_image._cache.cache_path)\n"
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


def test_respects_numba_cache_dir_and_the_users_cache_folder(tmp_path: Path) -> None:
    folder, setting = _import(NUMBA_CACHE_DIR=str(tmp_path / "own")).split()
    assert folder.startswith(str(tmp_path / "own" / "leanline" / f"kernels-{source_hash()}"))
    assert setting == repr(str(tmp_path / "own"))
    folder, setting = _import(NUMBA_CACHE_DIR="", XDG_CACHE_HOME=str(tmp_path / "xdg")).split()
    if sys.platform == "linux":
        assert folder.startswith(str(tmp_path / "xdg" / "leanline"))
    assert setting == "''"


def test_without_a_writable_folder_a_private_one_is_used_and_removed(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    folder, _ = _import(NUMBA_CACHE_DIR=str(blocked / "below")).split()
    assert not folder.startswith(str(tmp_path))
    assert "leanline-kernels-" in folder
    assert not Path(folder).exists()


def test_the_folder_is_writable() -> None:
    assert os.access(cache_folder(), os.W_OK)
