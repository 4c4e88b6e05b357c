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
from .masks import apply_masks, get_masks, remove_masks
from .pruning import (
    Lean,
    Magnitude,
    OperatorNorm,
    Schedule,
    clean,
    select,
    summary,
    trace,
)
from .version import __version__

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "GraphError",
    "Lean",
    "LeanlineError",
    "Magnitude",
    "ModelError",
    "OperatorNorm",
    "RunError",
    "Schedule",
    "__version__",
    "apply_masks",
    "clean",
    "get_masks",
    "remove_masks",
    "select",
    "summary",
    "trace",
]
