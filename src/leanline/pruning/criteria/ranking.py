"""From scores to an order of filters: over the whole network, or layer by layer."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import numpy as np
from jaxtyping import Float, Int

from leanline.errors import ConfigError
from leanline.graph import PruningGraph

Scope: TypeAlias = Literal["global", "layer"]
"""What filters are compared with: all of the network, or those of their own layer, of which the
same fraction is then removed everywhere."""


def check_scope(scope: object, rule: str) -> None:
    """Refuse what is no scope.

    Raises:
        ConfigError: It is none.
    """
    if scope not in get_args(Scope):
        raise ConfigError(f"{rule}(scope={scope!r}): give 'global' or 'layer'")


def ranked(
    graph: PruningGraph, scores: Float[np.ndarray, "filters"], scope: Scope, limit: int
) -> Int[np.ndarray, "_"]:
    """The first filters by falling score, lower ids first among equals.

    In scope "layer" a filter that r of n filters of its layer precede comes at place r / n, so that
    any prefix holds nearly the same fraction of every layer.
    """
    if scope == "global":
        return largest_first(scores, limit)
    places = np.empty(scores.size)
    for block in graph.filters:
        own = slice(block.offset, block.offset + block.count)
        places[own][largest_first(scores[own], block.count)] = np.arange(block.count) / block.count
    return largest_first(-places, limit)


def largest_first(scores: Float[np.ndarray, "_"], limit: int) -> Int[np.ndarray, "_"]:
    """Places by falling score, lower ones first among equals."""
    return np.argsort(-scores, kind="stable")[:limit].astype(np.int64)
