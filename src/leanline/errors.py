"""The errors that leanline raises on purpose.

Every message restates what was given, where, and what would be right. The command line turns
`ConfigError` into exit code 2 and every other `LeanlineError` into exit code 1.
"""


class LeanlineError(Exception):
    """Base of every error that leanline raises on purpose."""


class ConfigError(LeanlineError, ValueError):
    """An argument or a setting is wrong: unknown name, value out of range."""


class DataError(LeanlineError):
    """Pictures or a data folder cannot be used as they are."""


class ModelError(LeanlineError):
    """A network cannot be traced, pruned, compacted or run as asked."""


class GraphError(LeanlineError):
    """A pruning graph is not usable: a cycle, a weight that is NaN or infinite."""


class CheckpointError(LeanlineError):
    """A file of weights is truncated, damaged, or belongs to another network."""


class RunError(LeanlineError):
    """A run folder cannot be used: it belongs to another configuration, or cannot be written."""


class FolderInUseError(RunError):
    """Another process is writing to a run folder."""
