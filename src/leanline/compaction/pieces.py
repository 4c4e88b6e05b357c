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


def zeros_like_channels(images: Tensor, count: int, size: Sequence[int]) -> Tensor:
    """Zeros of shape batch x count x size, with the batch, type and device of ``images``."""
    return images.new_zeros(images.shape[0], count, *size)


def pad_zeros(images: Tensor, count: int) -> Tensor:
    """Zeros shaped as ``count`` channels of ``images`` (batch x channels x ...)."""
    return images.new_zeros(images.shape[0], count, *images.shape[2:])


class Weaver:
    """Makes tensors out of channel references, each combination once.

    Args:
        graph: the graph that nodes are added to.
        root: the module that holds index buffers.
        widths: number of channels of each node.
    """

    def __init__(self, graph: fx.Graph, root: nn.Module, widths: dict[fx.Node, int]) -> None:
        self._graph = graph
        self._root = root
        self._widths = widths
        self._made: dict[tuple[Reference | None, ...], fx.Node] = {}

    def weave(self, channels: Channels, source: fx.Node, size: Sequence[int]) -> fx.Node:
        """Return a node whose channels are ``channels``, in order.

        Args:
            channels: references; None gives zeros.
            source: a node that has the batch, for a value that is zero as a whole.
            size: spatial size of that value.
        """
        key = tuple(channels)
        if key not in self._made:
            self._made[key] = self._weave(key, source, size)
            self._widths[self._made[key]] = len(key)
        return self._made[key]

    def _weave(
        self, channels: tuple[Reference | None, ...], source: fx.Node, size: Sequence[int]
    ) -> fx.Node:
        like = next((channel[0] for channel in channels if channel is not None), None)
        if like is None:
            return self._graph.call_function(
                zeros_like_channels, (source, len(channels), tuple(size))
            )
        return self._join(channels, like)

    def _join(self, channels: tuple[Reference | None, ...], like: fx.Node) -> fx.Node:
        parts = []
        for node, group in itertools.groupby(channels, key=lambda c: None if c is None else c[0]):
            members = list(group)
            if node is None:
                parts.append(self._graph.call_function(pad_zeros, (like, len(members))))
            else:
                parts.append(self._take(node, [c[1] for c in members if c is not None]))
        if len(parts) == 1:
            return parts[0]
        return self._graph.call_function(torch.cat, (parts, 1))

    def _take(self, node: fx.Node, run: list[int]) -> fx.Node:
        if run == list(range(self._widths[node])):
            return node
        if run == list(range(run[0], run[0] + len(run))):
            return self._graph.call_function(torch.narrow, (node, 1, run[0], len(run)))
        name = f"channels_{sum(1 for _ in self._root.buffers(recurse=False))}"
        self._root.register_buffer(name, torch.tensor(run), persistent=False)
        return self._graph.call_function(torch.index_select, (node, 1, self._graph.get_attr(name)))
