"""Which modules are not to be pruned."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

from torch import nn

from leanline.errors import ConfigError, ModelError
from leanline.masks.slots import suggest

Ignore = Iterable[str | nn.Module]


def resolve_ignored(model: nn.Module, ignore: Ignore = ()) -> frozenset[str]:
    """Paths of the modules to leave alone.

    A module may carry `leanline_ignore`, a tuple of names of submodules (relative to it) that are
    never pruned; these are added.

    Args:
        model: The network.
        ignore: Module paths ("head"), patterns ("backbone.*.conv1", as in fnmatch) or modules of
            the model. A module stands for everything inside it.

    Raises:
        ConfigError: If an entry matches nothing.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"the model is {model!r}: give a torch.nn.Module (a function is called first)"
        )
    if isinstance(ignore, str | nn.Module):
        ignore = (ignore,)
    paths = {path: module for path, module in model.named_modules(remove_duplicate=False) if path}
    found: set[str] = set()
    for entry in ignore:
        if isinstance(entry, nn.Module):
            matches = {path for path, module in paths.items() if module is entry}
            text = f"a {type(entry).__name__} that is no part of the model"
        else:
            matches = set(fnmatch.filter(paths, entry)) | ({entry} & paths.keys())
            text = f"{entry!r}, which matches no module: {suggest(str(entry), paths)}"
        if not matches:
            raise ConfigError(f"ignore has {text}")
        found |= matches
    for path, module in model.named_modules():
        for name in getattr(module, "leanline_ignore", ()):
            found.add(f"{path}.{name}" if path else name)
    return frozenset(found)
