"""A number that changes with the size of a picture, as an expression of sizes of tensors.

Only what holds at two sizes is offered; whether it holds everywhere is seen by running the network
at a third one.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Pair = tuple[float, float]
"""A number at the one and at the other size."""

_FACTORS = range(2, 65)
_PAIRED, _TRIPLED = 32, 8  # so many of the sizes are combined with each other
_SHIFTS = tuple(n for i in range(1, 17) for n in (-i, i))


@dataclass(frozen=True)
class Size:
    """A size of a tensor.

    Attributes:
        source: whose size; anything that can be compared.
        axis: which.
    """

    source: Any
    axis: int


@dataclass(frozen=True)
class Formula:
    """Arithmetic on sizes.

    Attributes:
        function: of `operator`.
        terms: its arguments: sizes, formulas, numbers.
    """

    function: Callable[..., Any]
    terms: tuple[Any, ...]


Expression = Size | Formula | int | float


class Sizes:
    """The sizes that are at hand before a step of a network, those that change only.

    Args:
        near: (size, its two values), of what the step reads.
        far: the same, of the network's inputs and of earlier steps, those to be preferred first.
    """

    def __init__(self, near: Iterable[tuple[Size, Pair]], far: Iterable[tuple[Size, Pair]]) -> None:
        self._known: dict[Pair, Size] = {}
        for size, values in itertools.chain(near, far):
            if values[0] != values[1]:
                self._known.setdefault(values, size)

    def find(self, values: Pair) -> Expression | None:
        """The simplest expression with these values; None if there is none."""
        if all(isinstance(value, int) for value in values):
            return self._integer(values)
        return self._real(values)

    def find_padding(self, own: Size, values: Pair, total: Pair) -> Expression | None:
        """What is missing from a size to a multiple of a number, or to another size.

        Args:
            own: the size of what is padded.
            values: of that size.
            total: how much is added to it.
        """
        for factor in _FACTORS:
            if tuple(-value % factor for value in values) == total:
                return Formula(operator.mod, (Formula(operator.neg, (own,)), factor))
        target = self.find((values[0] + total[0], values[1] + total[1]))
        return None if target is None else Formula(operator.sub, (target, own))

    def _integer(self, values: Pair) -> Expression | None:
        if values in self._known:
            return self._known[values]
        for formula, found in self._formulas():
            if found == values:
                return formula
        return None

    def _formulas(self) -> Iterator[tuple[Formula, Pair]]:
        one = list(self._known.items())
        two = list(itertools.product(one[:_PAIRED], repeat=2))
        for (a, b), size in one:
            for factor in _FACTORS:
                yield Formula(operator.mul, (size, factor)), (a * factor, b * factor)
                yield Formula(operator.floordiv, (size, factor)), (a // factor, b // factor)
                up = Formula(operator.floordiv, (Formula(operator.add, (size, factor - 1)), factor))
                yield up, ((a + factor - 1) // factor, (b + factor - 1) // factor)
        for (a, b), size in one:
            for shift in _SHIFTS:
                yield Formula(operator.add, (size, shift)), (a + shift, b + shift)
        for ((a, b), left), ((c, d), right) in two:
            yield Formula(operator.sub, (left, right)), (a - c, b - d)
            yield Formula(operator.mul, (left, right)), (a * c, b * d)
        for ((a, b), left), ((c, d), right) in two:
            gap = Formula(operator.sub, (left, right))
            half = Formula(operator.floordiv, (gap, 2))
            low = (a - c) // 2, (b - d) // 2
            yield half, low
            yield Formula(operator.sub, (gap, half)), (a - c - low[0], b - d - low[1])
            yield Formula(operator.add, (right, half)), (c + low[0], d + low[1])
            yield Formula(operator.add, (left, right)), (a + c, b + d)
            area = Formula(operator.mul, (left, right))
            for factor in _FACTORS:
                yield Formula(operator.mul, (area, factor)), (a * c * factor, b * d * factor)
                if a * c % factor == 0 and b * d % factor == 0:
                    yield (
                        Formula(operator.floordiv, (area, factor)),
                        (
                            a * c // factor,
                            b * d // factor,
                        ),
                    )
            yield Formula(operator.add, (area, 1)), (a * c + 1, b * d + 1)
        for (a, b), size in one:
            for factor in _FACTORS:
                rest = Formula(operator.mod, (Formula(operator.neg, (size,)), factor))
                yield rest, (-a % factor, -b % factor)
        for ((a, b), left), ((c, d), right), ((e, f), third) in itertools.product(
            one[:_TRIPLED], repeat=3
        ):
            volume = Formula(operator.mul, (Formula(operator.mul, (left, right)), third))
            yield volume, (a * c * e, b * d * f)

    def _real(self, values: Pair) -> Expression | None:
        """A scale: the ratio of two sizes, or one over a number of pixels, or its root."""
        sizes = list(self._known.items())
        for ((a, b), left), ((c, d), right) in itertools.product(sizes, repeat=2):
            if c and d and _close(values, (a / c, b / d)):
                return Formula(operator.truediv, (left, right))
        for power in (1.0, -1.0, 2.0, -2.0):
            if not all(values):
                return None
            whole = tuple(abs(value) ** power for value in values)
            near = round(whole[0]), round(whole[1])
            if min(near) < 1 or not _close(whole, near) or min(values) < 0:
                continue
            found = self._integer(near)
            if found is not None:
                return Formula(operator.pow, (found, 1.0 / power))
        return None


def _close(values: Sequence[float], wanted: Sequence[float]) -> bool:
    return all(abs(a - b) <= 1e-9 * abs(b) for a, b in zip(values, wanted, strict=True))
