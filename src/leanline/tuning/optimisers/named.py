"""Optimisers by the names that users write."""

from __future__ import annotations

from leanline.errors import ConfigError
from leanline.records.settings import nearest
from leanline.tuning.optimisers.base import Optimiser
from leanline.tuning.optimisers.brute_force import BruteForce
from leanline.tuning.optimisers.gaussian_process import GaussianProcess
from leanline.tuning.optimisers.paper_settings import SETTINGS, paper_settings

_CLASSES: tuple[type[Optimiser], ...] = (BruteForce, *SETTINGS, GaussianProcess)


def optimiser_names() -> tuple[str, ...]:
    """Names such as ``first-ils``."""
    return tuple(_dashed(each.__name__) for each in _CLASSES)


def optimiser_named(name: str, budget: int) -> Optimiser:
    """Return an optimiser, with the paper's settings for a budget where the paper has some.

    Args:
        name: In any case, with dashes or without: ``first-ils``, ``FirstILS``.
        budget: Number of unique evaluations.

    Raises:
        ConfigError: There is none of that name.
    """
    for each in _CLASSES:
        if each.__name__.lower() == name.replace("-", "").lower():
            return paper_settings(each, budget) if each in SETTINGS else each()
    names = optimiser_names()
    raise ConfigError(
        f"there is no algorithm {name!r}{nearest(name, names)}; there are {', '.join(names)}"
    )


def _dashed(name: str) -> str:
    """FirstILS as first-ils: a dash where a capital follows a small letter."""
    pairs = zip(name, " " + name, strict=False)
    return "".join(f"-{c}" if c.isupper() and p.islower() else c for c, p in pairs).lower()
