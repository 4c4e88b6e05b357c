"""The processor's name."""

import platform
from pathlib import Path


def processor_name() -> str:
    """What the processor calls itself; where that is not told, its architecture."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return name
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, name)
