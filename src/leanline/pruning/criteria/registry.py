"""Pruning rules by name, as the command line has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from leanline.errors import ConfigError
from leanline.pruning.criteria.base import Criterion
from leanline.pruning.criteria.geometric_median import GeometricMedian
from leanline.pruning.criteria.lean import Lean
from leanline.pruning.criteria.magnitude import Magnitude
from leanline.pruning.criteria.operator_norm import OperatorNorm
from leanline.pruning.criteria.random import Random
from leanline.pruning.criteria.soft_filter import SoftFilter
from leanline.records.settings import call_with_settings

CRITERIA: Mapping[str, Callable[..., Criterion]] = {
    "lean": Lean,
    "magnitude": Magnitude,
    "operator-norm": OperatorNorm,
    "geometric-median": GeometricMedian,
    "soft-filter": SoftFilter,
    "random": Random,
}
"""All rules."""


def make_criterion(name: str, **settings: Any) -> Criterion:
    """A rule by name.

    Args:
        name: One of `CRITERIA`.
        **settings: Its attributes, or the text of them; those left out keep their defaults.

    Raises:
        ConfigError: No such rule, no such setting of it, or a value of the wrong type.
    """
    if name not in CRITERIA:
        raise ConfigError(f"criterion {name!r}: there are {', '.join(CRITERIA)}")
    return call_with_settings(CRITERIA[name], settings, f"criterion {name!r}")
