"""Optimisers by the names that users write."""

from __future__ import annotations

from leanline.errors import ConfigError
from leanline.records.settings import nearest
from leanline.tuning.optimisers.base import Optimiser
from leanline.tuning.optimisers.brute_force import BruteForce
from leanline.tuning.optimisers.gaussian_process import GaussianProcess
from leanline.tuning.optimisers.paper_settings import SETTINGS, paper_settings

OPTIMISERS: tuple[type[Optimiser], ...] = (BruteForce, *SETTINGS, GaussianProcess)


def optimiser_names() -> tuple[str, ...]:
    """Names such as ``first-ils``."""
    return tuple(_dashed(each.__name__) for each in OPTIMISERS)


def optimiser_class(name: str) -> type[Optimiser]:
    """Return the class of a name.

    Args:
        name: In any case, with dashes or without: ``first-ils``, ``FirstILS``.

    Raises:
        ConfigError: There is none of that name.
    """
    for each in OPTIMISERS:
        if each.__name__.lower() == name.strip().replace("-", "").replace("_", "").lower():
            return each
    names = optimiser_names()
    written = (*names, *(each.__name__ for each in OPTIMISERS))
    raise ConfigError(
        f"there is no optimiser {name!r}{nearest(name, written)}; there are {', '.join(names)}"
    )


def optimiser_named(name: str, budget: int) -> Optimiser:
    """Return an optimiser, with the paper's settings for a budget where the paper has some.

    Args:
        name: As for `optimiser_class`.
        budget: Number of unique evaluations.

    Raises:
        ConfigError: There is none of that name.
    """
    each = optimiser_class(name)
    return paper_settings(each, budget) if each in SETTINGS else each()


def _dashed(name: str) -> str:
    """FirstILS as first-ils: a dash where a capital follows a small letter."""
    pairs = zip(name, " " + name, strict=False)
    return "".join(f"-{c}" if c.isupper() and p.islower() else c for c, p in pairs).lower()
