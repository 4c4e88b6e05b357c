"""Measure in a process of its own, so that its memory can be told."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def measure_apart(module: str, *arguments: object) -> dict[str, object]:
    """Run a module of the benchmarks; what it prints is a JSON object, the result."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parent.parent,
    )
    result: dict[str, object] = json.loads(done.stdout)
    return result
