"""A network as ONNX sees it: a row of named tensors in, a row of named tensors out."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from leanline.compaction.onnx_axes import resized, short
from leanline.errors import ModelError


class FlatNetwork(nn.Module):
    """Calls a network with tensors in a row, and returns its tensors in a row.

    Args:
        network: the network, in eval mode.
        given: the tuple that it is called with, of tensors, or dictionaries and lists of them.

    Attributes:
        example: random inputs, shaped as the given ones.
        inputs: their names.
        outputs: names of the outputs.

    Raises:
        ModelError: the inputs are no tensors, the network fails on them or returns no tensor.
    """

    def __init__(self, network: nn.Module, given: tuple[Any, ...]) -> None:
        super().__init__()
        self.network = network
        found, self._spec = pytree.tree_flatten_with_path(given)
        leaves, paths = [leaf for _, leaf in found], [_steps(path) for path, _ in found]
        wrong = [type(leaf).__name__ for leaf in leaves if not isinstance(leaf, Tensor)]
        if wrong or not leaves:
            what = ", ".join(wrong) or "nothing"
            raise ModelError(f"ONNX needs a network that is called with tensors, not {what}")
        self.example = resized([leaf.detach().cpu() for leaf in leaves], {})
        arguments = _arguments(network, len(given))
        several = len({path[0] for path in paths}) > 1
        self.inputs = _names(
            [[arguments[int(path[0])]] * several + path[1:] for path in paths], "input"
        )
        results = [_steps(path) for path in self._results()]
        self.outputs = _names(results, "output", self.inputs)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Call the network."""
        result = self.network(*pytree.tree_unflatten(list(tensors), self._spec))
        return tuple(leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, Tensor))

    def _results(self) -> list[tuple[Any, ...]]:
        """Where the tensors are in what the network returns."""
        try:
            with torch.no_grad():
                result = self.network(*pytree.tree_unflatten(list(self.example), self._spec))
        except Exception as problem:  # any: it is the user's network
            shapes = ", ".join(f"{tuple(item.shape)} {item.dtype}" for item in self.example)
            raise ModelError(
                f"the model fails on example_inputs of {shapes}: "
                f"{type(problem).__name__}: {short(problem)}"
            ) from problem
        found = pytree.tree_flatten_with_path(result)[0]
        paths = [path for path, leaf in found if isinstance(leaf, Tensor)]
        if not paths:
            raise ModelError(f"the model returns no tensor, but a {type(result).__name__}")
        return paths


def _arguments(network: nn.Module, count: int) -> list[str]:
    parameters = inspect.signature(network.forward).parameters.values()
    names = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    return names if len(names) >= count else [f"input_{index}" for index in range(count)]


def _steps(path: Sequence[Any]) -> list[str]:
    """The keys of a path: of dictionaries, sequences or fields."""
    return [
        str(next(getattr(key, kind) for kind in ("key", "idx", "name") if hasattr(key, kind)))
        for key in path
    ]


def _names(paths: Sequence[list[str]], word: str, taken: Sequence[str] = ()) -> tuple[str, ...]:
    """A name a tensor: `word` if there is one tensor, else its keys, numbers after `word`."""
    found: list[str] = []
    for steps in paths:
        name = "_".join(steps) if len(paths) > 1 else word
        name = f"{word}_{name}" if not name or name[0].isdecimal() else name
        while name in found or name in taken:
            name = f"{name}_{word}"
        found.append(name)
    return tuple(found)
