# What `import leanline as ll` offers, by the module that holds it. `__init__.py` reads this file.

from .errors import (
    CheckpointError,
    ConfigError,
    DataError,
    GraphError,
    LeanlineError,
    ModelError,
    RunError,
)
from .version import __version__

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "GraphError",
    "LeanlineError",
    "ModelError",
    "RunError",
    "__version__",
]
