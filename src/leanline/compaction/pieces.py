"""Channels as references: where each channel of a value lies among the nodes of the new graph.

Concatenations and slices only rearrange references. A tensor is made when an operation reads one:
runs of channels of one node are taken together, so that nothing is copied that need not be.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, fx, nn

Reference = tuple[fx.Node, int]
Channels = Sequence[Reference | None]
"""A node and a channel of it, or None for a channel that is zero."""


def zero_value(images: Tensor, shape: Sequence[int], batched: bool, dtype: torch.dtype) -> Tensor:
    """Zeros of a shape, on the device of ``images`` and, if ``batched``, with its batch."""
    batch = images.shape[0] if batched else shape[0]
    return images.new_zeros((batch, *shape[1:]) if shape else (), dtype=dtype)


def zero_channels(images: Tensor, count: int) -> Tensor:
    """Zeros shaped as ``count`` channels of ``images`` (batch x channels x ...)."""
    return images.new_zeros(images.shape[0], count, *images.shape[2:])


class Weaver:
    """Makes tensors out of channel references, each combination once.

    Args:
        graph: the graph that nodes are added to.
        root: the module that holds index buffers.
        widths: number of channels of each node.
        device: where index buffers are put.
    """

    def __init__(
        self,
        graph: fx.Graph,
        root: nn.Module,
        widths: dict[fx.Node, int],
        device: torch.device | None,
    ) -> None:
        self._graph = graph
        self._root = root
        self._widths = widths
        self.device = device
        self._made: dict[tuple[fx.Node, tuple[Reference | None, ...]], fx.Node] = {}

    def weave(self, channels: Channels, like: fx.Node) -> fx.Node:
        """Return a node whose channels are ``channels``, in order.

        Args:
            channels: references; None gives zeros.
            like: a node of the same batch and size.
        """
        key = like, tuple(channels)
        if key not in self._made:
            self._made[key] = self._join(channels, like)
            self._widths[self._made[key]] = len(channels)
        return self._made[key]

    def _join(self, channels: Channels, like: fx.Node) -> fx.Node:
        runs = _runs(channels)
        nodes = list(dict.fromkeys(node for node, _ in runs))
        if len(nodes) == 1 or len(runs) <= 2 * len(nodes):
            parts = [
                self._graph.call_function(zero_channels, (like, len(run)))
                if node is None
                else self._take(node, run)
                for node, run in runs
            ]
            return parts[0] if len(parts) == 1 else self._graph.call_function(torch.cat, (parts, 1))
        # many short runs: all channels side by side, then those that are wanted
        starts: dict[fx.Node | None, int] = {}
        whole: list[fx.Node] = []
        for node in nodes:
            starts[node] = sum(self._widths[part] for part in whole)
            whole.append(
                self._graph.call_function(zero_channels, (like, 1)) if node is None else node
            )
            self._widths.setdefault(whole[-1], 1)
        both = self._graph.call_function(torch.cat, (whole, 1))
        self._widths[both] = sum(self._widths[part] for part in whole)
        index = [starts[None] if c is None else starts[c[0]] + c[1] for c in channels]
        return self._take(both, index)

    def _take(self, node: fx.Node, run: list[int]) -> fx.Node:
        if run == list(range(self._widths[node])):
            return node
        if run == list(range(run[0], run[0] + len(run))):
            return self._graph.call_function(torch.narrow, (node, 1, run[0], len(run)))
        name = free_name(self._root, "channels")
        self._root.register_buffer(name, torch.tensor(run, device=self.device))
        return self._graph.call_function(torch.index_select, (node, 1, self._graph.get_attr(name)))


def _runs(channels: Channels) -> list[tuple[fx.Node | None, list[int]]]:
    """Channels of one node that follow each other, taken together."""
    return [
        (node, [0 if c is None else c[1] for c in group])
        for node, group in itertools.groupby(channels, key=lambda c: None if c is None else c[0])
    ]


def free_name(root: nn.Module, wanted: str) -> str:
    """``wanted``, with a number behind it where the module has such an attribute already."""
    name, count = wanted, 1
    while hasattr(root, name):
        count += 1
        name = f"{wanted}_{count}"
    return name
