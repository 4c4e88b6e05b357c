"""Other sizes to try a network at: batch, height and width, each changed in its own way."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from leanline.compaction.structure import tensors_of

_STEPS = (32, 64)
"""Networks halve pictures five times, some six: sizes are changed by at most these powers of two,
to smaller ones (where the example is not small already) and to larger ones."""
_ODD = (0b0101011, 0b0110101, 0b0011101)
"""Added along height, width and depth. Halved again and again, rounded up or down, these are odd
at one level or another, so that sizes which are equal otherwise differ."""
_ONES = 63
_MIXED = (0b0010110, 0b0001011, 0b0001101)


@dataclass(frozen=True)
class Resizing:
    """New sizes for the axes of a network's input tensors.

    Attributes:
        batch: size of axis 0 to its new size.
        pictures: for each axis from 2 on, size to its new size.
    """

    batch: Mapping[int, int]
    pictures: tuple[Mapping[int, int], ...]

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The new shape of a tensor."""
        first = tuple(self.batch.get(size, size) for size in shape[:1])
        rest = tuple(
            new.get(size, size) for size, new in zip(shape[2:], self.pictures, strict=False)
        )
        return (*first, *shape[1:2], *rest, *shape[2 + len(rest) :])

    def apply(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments with tensors of new shapes; their values repeat."""
        resized = tree_map(lambda x: self._tensor(x) if isinstance(x, Tensor) else x, arguments)
        assert isinstance(resized, tuple)
        return resized

    def _tensor(self, tensor: Tensor) -> Tensor:
        for axis, size in enumerate(self.shape(tuple(tensor.shape))):
            if size != tensor.shape[axis]:
                index = torch.arange(size, device=tensor.device) % tensor.shape[axis]
                tensor = tensor.index_select(axis, index)
        return tensor


@dataclass(frozen=True)
class Trial:
    """Sizes at which a network is traced to see which of its numbers are sizes.

    Attributes:
        what: which axes it sets free, for people; "" if all.
        other: compared with the example.
        pairs: compared with each other, where the model takes other steps at `other` than at the
            example: padding of odd sizes, say.
        check: at which the result is compared with the model.
    """

    what: str
    other: Resizing
    pairs: tuple[tuple[Resizing, Resizing], ...]
    check: Resizing


def find_trials(arguments: tuple[Any, ...]) -> Iterator[Trial]:
    """Sizes to try, those that tell most first.

    Args:
        arguments: what the network is called with.
    """
    tensors = tensors_of(arguments)
    axes = max(tensor.ndim for tensor in tensors) - 2
    sizes = [
        sorted({t.shape[axis + 2] for t in tensors if t.ndim > axis + 2}, reverse=True)
        for axis in range(axes)
    ]
    first = tensors[0].shape[0] if tensors[0].ndim else 0
    same: Mapping[int, int] = {}
    others = [size for size in (2, 3, 4) if size != first]
    more, most = ({first: size} if first else same for size in others[:2])
    news = [
        [_multiples(group, axis, larger) for axis, group in enumerate(sizes)]
        for larger in (False, True)
    ]
    news = [new for number, new in enumerate(news) if any(new) and new not in news[:number]]
    for new in news:
        odd, mixed = (_shifted(new, numbers) for numbers in (_ODD, _MIXED))
        check = Resizing(most, mixed or tuple(new))
        if odd is not None:
            yield Trial("", Resizing(more, odd), _pairs(sizes, same, more), check)
        yield Trial("", Resizing(more, tuple(new)), (), check)
    for new in news:
        mixed = _shifted(new, _MIXED)
        check = Resizing(same, mixed or tuple(new))
        yield Trial("pictures", Resizing(same, tuple(new)), (), check)
    if more:
        yield Trial("batch", Resizing(more, ()), (), Resizing(most, ()))


def _multiples(sizes: list[int], axis: int, larger: bool) -> dict[int, int]:
    """New sizes of the same proportions; about half as large, or larger."""
    common = math.gcd(*sizes)
    step = min(_STEPS[larger], common & -common)
    wanted = _another(common // step, axis, larger)
    return {size: size // common * wanted * step for size in sizes}


def _near(sizes: list[int], axis: int) -> dict[int, int]:
    """A size that can be halved five times, whatever the given one is."""
    step = _STEPS[0]
    return {size: _another(max(1, size // step), axis, False) * step for size in sizes}


def _another(count: int, axis: int, larger: bool) -> int:
    wanted = count + 1 + axis if larger or count < 4 else (count + 1) // 2 + axis
    return wanted + (wanted == count)


def _shifted(new: list[dict[int, int]], by: tuple[int, ...]) -> tuple[dict[int, int], ...] | None:
    """Irregular sizes near the given ones, where there is one size an axis."""
    if len(new) > len(by) or not all(len(group) == 1 for group in new):
        return None
    return tuple(
        {old: size + _fitting(shift, size) for old, size in group.items()}
        for group, shift in zip(new, by, strict=False)
    )


def _fitting(shift: int, size: int) -> int:
    """The lower bits of a shift, as many as leave the size about what it is."""
    return shift % max(2, 1 << max(1, size.bit_length() - 2))


def _pairs(
    sizes: list[list[int]], same: Mapping[int, int], more: Mapping[int, int]
) -> tuple[tuple[Resizing, Resizing], ...]:
    """Sizes at which models pad or crop, in the same places at both of a pair.

    In the first pair one axis is odd however often it is halved and rounded down, and the next is
    even; then the other way round. So a model that pads what was halved pads at every level. In the
    second pair all axes miss multiples of 4, 8, 16, ... by numbers that tell these apart.
    """
    even = [_near(group, axis) for axis, group in enumerate(sizes)]

    def shifted(odd: int, by: tuple[int, int]) -> tuple[dict[int, int], ...]:
        return tuple(
            {old: size + _fitting(by[(axis + odd) % 2], size) for old, size in group.items()}
            for axis, group in enumerate(even)
        )

    return tuple(
        (Resizing(same, shifted(0, by)), Resizing(more, shifted(1, by)))
        for by in ((_ONES, 0), (1, 3))
    )
