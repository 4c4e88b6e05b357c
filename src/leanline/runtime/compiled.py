"""A compiled network: fast at the size it was made for, right at every size."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import keystr, tree_flatten_with_path

from leanline.errors import ModelError
from leanline.runtime.specialise import Fits, always
from leanline.runtime.tuned import Tuned

log = logging.getLogger(__name__)

Kind = tuple[torch.dtype, str, int, torch.Size]
"""What all inputs in one place have in common: dtype, kind of device, axes, channels."""

Key = frozenset[tuple[str, torch.Size]]
"""The sizes of all inputs, by place."""


class CompiledNetwork(nn.Module):
    """What `compile` returns.

    Pictures of another height and width than the example's run the same way where that is possible.
    Where it is not (a size that the compact network does not fit) a network is made for them; the
    few that were used last are kept.

    Args:
        network: the fast network.
        inputs: the example inputs.
        fits: whether ``network`` computes the right thing for inputs of another size, if it runs.
        make: makes a network for inputs of another size.
        times: milliseconds of the networks that were tried, by name: "reference" (the model as it
            is), "compact", "planes" (all that the kernels can run) and "mixed".
        tuned: what tuning found, where it was asked for.
    """

    KEPT = 4
    REMEMBERED = 1000

    def __init__(
        self,
        network: nn.Module,
        inputs: tuple[Any, ...],
        fits: Fits,
        make: Callable[[tuple[Any, ...]], nn.Module],
        times: Mapping[str, float] | None = None,
        tuned: Tuned | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.times = dict(times or {})
        self.tuned = tuned
        self._fits, self._make = fits, make
        self._everywhere = fits is always
        tensors = _by_place(inputs)
        self._kinds = {place: _kind(t) for place, t in tensors.items()}
        self._fitting: dict[Key, bool] = {}
        self._sizes = {place: t.shape[2:] for place, t in tensors.items()}
        self._others: tuple[tuple[Key, nn.Module], ...] = ()
        self.eval()

    def forward(self, *inputs: Any) -> Any:
        """Compute the network.

        Raises:
            ModelError: not the inputs that the network was compiled for.
        """
        tensors = _by_place(inputs)
        if not tensors:
            given = ", ".join(type(item).__name__ for item in inputs) or "nothing"
            raise ModelError(f"got {given}; this network takes tensors of {_said(self._kinds)}")
        kinds = {place: _kind(t) for place, t in tensors.items()}
        if kinds != self._kinds:
            raise ModelError(
                f"got inputs of {_said(kinds)}; this network was compiled for {_said(self._kinds)}"
            )
        if any(0 in t.shape for t in tensors.values()):
            shapes = ", ".join(str(tuple(t.shape)) for t in tensors.values())
            raise ModelError(f"got inputs of shape {shapes}, which hold no pixel")
        sizes = {place: t.shape[2:] for place, t in tensors.items()}
        if sizes == self._sizes or (self._everywhere and torch.compiler.is_compiling()):
            return self.network(*inputs)
        return self._at_another_size(sizes, inputs)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _at_another_size(self, sizes: Mapping[str, torch.Size], inputs: tuple[Any, ...]) -> Any:
        key = frozenset(sizes.items())
        network = dict(self._others).get(key)
        if network is None and self._fits_at(key, inputs):
            try:
                return self.network(*inputs)
            except ModelError as problem:
                log.info("made again for another size: %s", problem)
        if network is None:
            network = self._make(inputs)
        # a new tuple each time: other threads may be here as well
        others = (*(other for other in self._others if other[0] != key), (key, network))
        self._others = others[-self.KEPT :]
        return network(*inputs)

    def _fits_at(self, key: Key, inputs: tuple[Any, ...]) -> bool:
        if self._everywhere:
            return True
        fits = self._fitting.get(key)
        if fits is None:
            fits = self._fits(inputs)
            if len(self._fitting) >= self.REMEMBERED:
                self._fitting = {}
            self._fitting[key] = fits
        return fits


def _by_place(inputs: tuple[Any, ...]) -> dict[str, Tensor]:
    """The tensors of the arguments, by where they lie."""
    if all(isinstance(item, Tensor) for item in inputs):
        return {f"[{place}]": item for place, item in enumerate(inputs)}
    paths, _ = tree_flatten_with_path(inputs)
    return {keystr(path): leaf for path, leaf in paths if isinstance(leaf, Tensor)}


def _kind(tensor: Tensor) -> Kind:
    return tensor.dtype, tensor.device.type, tensor.ndim, tensor.shape[1:2]


def _said(kinds: Mapping[str, Kind]) -> str:
    several = len(kinds) > 1
    return "; ".join(
        (f"{place}: " if several else "")
        + f"{ndim} axes, {''.join(map(str, channels)) or 'no'} channels, {dtype}, on {device}"
        for place, (dtype, device, ndim, channels) in kinds.items()
    )
