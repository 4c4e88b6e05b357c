"""The rules that are compared, by the names that configurations use."""

from __future__ import annotations

from collections.abc import Mapping

from leanline import pruning
from leanline.errors import ConfigError
from leanline.records.settings import nearest

RULES: Mapping[str, pruning.Criterion] = {
    "lean": pruning.Lean(),
    "magnitude": pruning.Magnitude(),
    "operator-norm": pruning.OperatorNorm(),
}


def rule(name: str) -> pruning.Criterion:
    """A rule by its name.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in RULES:
        raise ConfigError(
            f"there is no rule {name!r}{nearest(name, RULES)}; there are {', '.join(RULES)}"
        )
    return RULES[name]
