"""A compiled network: fast at the size it was made for, right at every size."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from leanline.errors import ModelError

log = logging.getLogger(__name__)


class CompiledNetwork(nn.Module):
    """What `compile` returns.

    Pictures of another height and width than the example's run the same way where that is possible.
    Where it is not (a size that the compact network does not fit) a network is made for them; the
    few that were used last are kept.

    Args:
        network: the fast network.
        inputs: the example inputs.
        any_size: whether ``network`` computes the right thing wherever it runs at all.
        make: makes a network for inputs of another size.
    """

    KEPT = 4

    def __init__(
        self,
        network: nn.Module,
        inputs: tuple[Tensor, ...],
        any_size: bool,
        make: Callable[[tuple[Tensor, ...]], nn.Module],
    ) -> None:
        super().__init__()
        self.network = network
        self._any_size, self._make = any_size, make
        self._sizes = tuple(t.shape[2:] for t in inputs)
        self._kinds = tuple(_kind(t) for t in inputs)
        self._others: OrderedDict[tuple[torch.Size, ...], nn.Module] = OrderedDict()
        self.eval()

    def forward(self, *inputs: Tensor) -> Any:
        """Compute the network.

        Raises:
            ModelError: not the inputs that the network was compiled for.
        """
        kinds = tuple(_kind(t) for t in inputs)
        if kinds != self._kinds:
            raise ModelError(
                f"got inputs of {_said(kinds)}; this network was compiled for {_said(self._kinds)}"
            )
        if any(t.numel() == 0 for t in inputs):
            shapes = ", ".join(str(tuple(t.shape)) for t in inputs)
            raise ModelError(f"got inputs of shape {shapes}, which hold no pixel")
        sizes = tuple(t.shape[2:] for t in inputs)
        if sizes == self._sizes:
            return self.network(*inputs)
        return self._at_another_size(sizes, inputs)

    def _at_another_size(self, sizes: tuple[torch.Size, ...], inputs: tuple[Tensor, ...]) -> Any:
        if sizes not in self._others and self._any_size:
            try:
                return self.network(*inputs)
            except ModelError as problem:
                log.info("made again for another size: %s", problem)
        if sizes not in self._others:
            self._others[sizes] = self._make(inputs)
            if len(self._others) > self.KEPT:
                self._others.popitem(last=False)
        self._others.move_to_end(sizes)
        return self._others[sizes](*inputs)


def _kind(tensor: Tensor) -> tuple[torch.dtype, str, int, torch.Size]:
    return tensor.dtype, tensor.device.type, tensor.ndim, tensor.shape[1:2]


def _said(kinds: Sequence[tuple[torch.dtype, str, int, torch.Size]]) -> str:
    return "; ".join(
        f"{ndim} axes, {''.join(map(str, channels)) or 'no'} channels, {dtype}, on {device}"
        for dtype, device, ndim, channels in kinds
    )
