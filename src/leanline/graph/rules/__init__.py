"""How each kind of ATen operator is lowered: a rule emits operations, or says why it cannot."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

from leanline.graph.lower import Rule
from leanline.graph.rules import channelwise, elementwise, layers, movement

_RULES: Mapping[str, Rule] = dict(
    chain.from_iterable(part.RULES.items() for part in (movement, channelwise, elementwise, layers))
)


def find(name: str) -> Rule | None:
    """The rule of an operator by its name without namespace and overload, None if it has none."""
    return _RULES.get(name)
