"""Which axes of a network's inputs may have another size: asked of the network itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Sizes = Mapping[str, Callable[[int], int]]
"""Axis name to what becomes of its size."""

_SPATIAL = {3: ("length",), 4: ("height", "width"), 5: ("depth", "height", "width")}
_BATCHES: tuple[Callable[[int], int], ...] = (lambda n: n + 1, lambda n: 2 * n)
# the first that a network takes: odd ones before multiples of what networks halve by
_SIZES: tuple[Callable[[int], int], ...] = (
    lambda n: n + 5,
    lambda n: n + 8,
    lambda n: n + 32,
    lambda n: 2 * n,
)


@dataclass(frozen=True)
class Axis:
    """An axis that all pictures among the inputs share.

    Attributes:
        name: "batch", "height", "width", "depth" or "length".
        places: input and dimension, in all inputs that have it.
    """

    name: str
    places: tuple[tuple[int, int], ...]

    @property
    def candidates(self) -> tuple[Callable[[int], int], ...]:
        """Other sizes to try."""
        return _BATCHES if self.name == "batch" else _SIZES


@dataclass(frozen=True)
class Freedom:
    """What a network allows.

    Attributes:
        free: axes that may have another size, with such a size.
        fixed: axes that may not, with the reason.
    """

    free: Sizes
    fixed: Mapping[str, str]


def axes_of(inputs: Sequence[Tensor]) -> dict[str, Axis]:
    """The axes of batch x channels x pixels that inputs have, by name."""
    found: dict[str, list[tuple[int, int]]] = {}
    first = _batch(inputs)
    for index, tensor in enumerate(inputs):
        if tensor.ndim and tensor.shape[0] == first:
            found.setdefault("batch", []).append((index, 0))
        for dimension, name in enumerate(_SPATIAL.get(tensor.ndim, ()), start=2):
            found.setdefault(name, []).append((index, dimension))
    return {name: Axis(name, tuple(places)) for name, places in found.items()}


def resized(inputs: Sequence[Tensor], sizes: Sizes) -> tuple[Tensor, ...]:
    """Inputs of other sizes: normal random numbers, or the integers of the example repeated."""
    generator = torch.Generator().manual_seed(0)
    tensors = list(inputs)
    for name, axis in axes_of(inputs).items():
        for index, dimension in axis.places if name in sizes else ():
            tensor = tensors[index]
            old = tensor.shape[dimension]
            chosen = torch.arange(sizes[name](old)) % old
            tensors[index] = tensor.index_select(dimension, chosen)
    return tuple(
        torch.randn(tensor.shape, generator=generator).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor
        for tensor in tensors
    )


def find_freedom(run: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor]) -> Freedom:
    """Try other sizes, axis by axis and then all together.

    Args:
        run: the network, from tensors to tensors.
        inputs: the example, which it runs on.
    """
    trial = _Trial(run, inputs)
    free: dict[str, Callable[[int], int]] = {}
    fixed: dict[str, str] = {}
    for name, axis in axes_of(inputs).items():
        index, dimension = axis.places[0]
        tried: dict[int, str] = {}
        for change in axis.candidates:
            reason = trial.failure({name: change})
            if reason is None:
                free[name] = change
                break
            tried.setdefault(change(inputs[index].shape[dimension]), reason)
        else:
            sizes = ", ".join(map(str, tried))
            fixed[name] = f"the network fails at {name} {sizes}: {next(iter(tried.values()))}"
    while free and (reason := trial.failure(free)) is not None:  # square pictures alone, say
        name, _ = free.popitem()
        fixed[name] = f"the network fails where other axes change too: {reason}"
    return Freedom(free, fixed)


class _Trial:
    """A network at sizes that it may not be made for."""

    def __init__(self, run: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor]) -> None:
        self._run = run
        self._inputs = inputs
        with torch.no_grad():
            self._rows = [len(output) if output.ndim else 0 for output in run(*inputs)]

    def failure(self, sizes: Sizes) -> str | None:
        """What goes wrong at other sizes; None if nothing does."""
        tensors = resized(self._inputs, sizes)
        try:
            with torch.no_grad():
                outputs = self._run(*tensors)
        except Exception as problem:  # any: it is the user's network
            return short(problem)
        batch, now = _batch(self._inputs), _batch(tensors)
        for number, (rows, output) in enumerate(zip(self._rows, outputs, strict=False)):
            # a reshape to numbers makes several pictures of a larger one, without an error
            if rows and rows == batch and len(output) != now:
                return f"{now} pictures in, {len(output)} out, in output {number}"
        return None


def _batch(inputs: Sequence[Tensor]) -> int:
    return next((tensor.shape[0] for tensor in inputs if tensor.ndim), 0)


def short(problem: BaseException) -> str:
    """The first line of an error's message."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    text = lines[0] if lines else type(problem).__name__
    return text if len(text) <= 200 else text[:197] + "..."
