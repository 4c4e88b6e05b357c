"""Where Numba keeps compiled code: a folder of its own for every version of the sources.

Numba's cache of a function notices changes in the function's own file only. Code that is woven from
functions of several files could be taken from the cache although it is stale, after an upgrade.
Here the folder's name holds a hash of all sources of a package.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba

log = logging.getLogger(__name__)

_config: Any = numba.config  # its settings are made at run time


def source_hash(folder: Path) -> str:
    """Hash of the Python sources in a folder, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def user_cache() -> Path:
    """The user's folder for caches, by the platform's custom."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def cache_folder(name: str, sources: Path) -> Path:
    """A writable folder for what is compiled from the sources in a folder.

    Below ``NUMBA_CACHE_DIR`` where that is set, else below the user's cache folder. Where neither
    can be written to, a temporary folder that goes when the process ends: the cache holds code, so
    that a folder which others can write to would not do.
    """
    chosen = _config.CACHE_DIR
    try:
        folder = (Path(chosen) if chosen else user_cache()) / "leanline"
        folder = folder / f"{name}-{source_hash(sources)}"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError) as problem:  # RuntimeError: no home folder
        log.info("compiled %s are not kept for the next process: %s", name, problem)
    folder = Path(tempfile.mkdtemp(prefix=f"leanline-{name}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@contextlib.contextmanager
def code_cache(name: str, sources: Path) -> Iterator[None]:
    """Functions that Numba decorates inside are cached in `cache_folder`; others as before."""
    before = _config.CACHE_DIR
    _config.CACHE_DIR = str(cache_folder(name, sources))
    try:
        yield
    finally:
        _config.CACHE_DIR = before
