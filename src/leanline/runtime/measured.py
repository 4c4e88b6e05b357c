"""Measured times, kept on disk for the next time: by processor, versions and what was measured."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Hashable
from pathlib import Path

import torch

from leanline.errors import RunError
from leanline.kernels import SOURCES
from leanline.records.atomic import write_text
from leanline.records.code_cache import source_hash, user_cache
from leanline.records.processor import processor_name
from leanline.version import __version__

log = logging.getLogger(__name__)

_VERSION = 1


def processor() -> str:
    """What the times hold for: the processor's name and what PyTorch uses of it."""
    return f"{processor_name()}, {torch.backends.cpu.get_cpu_capability()}"


def circumstances() -> str:
    """What measured times hold for: processor and versions."""
    return f"{processor()} {torch.__version__} {__version__} {source_hash(SOURCES)}"


def usual_folder(name: str) -> Path:
    """A folder of the project in the user's folder for caches, which need not exist yet."""
    try:
        return user_cache() / "leanline" / name
    except RuntimeError:  # no home folder: a place that cannot be written to
        return Path(os.devnull)


class Measured:
    """Times in seconds by what was measured, in memory and, where possible, in a file.

    Args:
        folder: where the file is; by default the user's folder for caches.
    """

    def __init__(self, folder: Path | None = None) -> None:
        name = hashlib.sha256(f"{circumstances()} {_VERSION}".encode()).hexdigest()[:16]
        self.path = (folder or usual_folder("times")) / f"{name}.json"
        self._times = self._read()
        self._new = 0

    def get(self, what: Hashable, measure: Callable[[], float]) -> float:
        """The time of something, measured if it never was."""
        key = str(what)
        if key not in self._times:
            self._times[key] = measure()
            self._new += 1
        return self._times[key]

    def save(self) -> None:
        """Write what is new; another process may have written meanwhile, whose times stay."""
        if not self._new:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            merged = {**self._read(), **self._times}
            write_text(self.path, json.dumps(merged, indent=0, sort_keys=True))
            self._new = 0
        except (OSError, RunError) as problem:
            log.info("measured times are not kept for the next process: %s", problem)

    def _read(self) -> dict[str, float]:
        try:
            held = json.loads(self.path.read_text(encoding="utf-8"))
            return {str(key): float(value) for key, value in held.items()}
        except (OSError, ValueError, AttributeError, TypeError):  # missing, cut or foreign
            return {}
