# What `import leanline as ll` offers, by the module that holds it. `__init__.py` reads this file.

from . import data, graph, inference, models, norms, runtime, tuning
from .compaction import compact, export_onnx, load, save
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
    prune,
    select,
    summary,
    trace,
)
from .runtime import benchmark, compile
from .training import Retrain, TrainingConfig, metrics
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
    "Retrain",
    "RunError",
    "Schedule",
    "TrainingConfig",
    "__version__",
    "apply_masks",
    "benchmark",
    "clean",
    "compact",
    "compile",
    "data",
    "export_onnx",
    "get_masks",
    "graph",
    "inference",
    "load",
    "metrics",
    "models",
    "norms",
    "prune",
    "remove_masks",
    "runtime",
    "save",
    "select",
    "summary",
    "trace",
    "tuning",
]
