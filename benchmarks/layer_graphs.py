"""Channel graphs of real topologies with random filters, built from tables of layers.

Batch norms are folded into the convolutions before them; a residual addition is a node a channel
that two unprunable edges of weight 1 enter; a concatenation merges nodes. The filters are Gaussian,
their norms are the largest moduli of their transforms on an 8 x 8 grid.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from leanline.graph import ChannelGraph, EdgeBlock
from leanline.graph.channel_graph import log_weights

REGIMES = ("Kaiming", "normalised")
"""Norms as initialised (nearly all below 1), or with root-mean-square 1 in every layer."""


class Layers:
    """A network of convolutions, additions and concatenations, one layer after the other.

    Args:
        regime: one of `REGIMES`.
        seed: for the filters.
    """

    def __init__(self, regime: str, seed: int) -> None:
        self._regime = regime
        self._random = np.random.default_rng(seed)
        self._blocks: list[EdgeBlock] = []
        self._count = 0

    def channels(self, count: int) -> np.ndarray:
        """New nodes."""
        self._count += count
        return np.arange(self._count - count, self._count, dtype=np.int32)

    def conv(self, source: np.ndarray, outputs: int, size: int = 3) -> np.ndarray:
        """A convolution and its batch norm."""
        own = self.channels(outputs)
        norms = np.concatenate(
            [
                self._norms(part.size, source.size, size)
                for part in np.array_split(own, 1 + own.size * source.size // 100_000)
            ]
        )
        if self._regime == "normalised":
            norms /= np.sqrt(np.mean(norms**2))
        self._blocks.append(EdgeBlock(source, own, log_weights(norms), np.array(True)))
        return own

    def add(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """A residual addition."""
        own = self.channels(one.size)
        for source in (one, other):
            logs = np.zeros(own.size, dtype=np.float32)
            self._blocks.append(EdgeBlock(source, own, logs, np.array(False)))
        return own

    def graph(self) -> ChannelGraph:
        """All layers so far."""
        return ChannelGraph.from_blocks(tuple(self._blocks), self._count)

    def _norms(self, outputs: int, inputs: int, size: int) -> np.ndarray:
        shape = (outputs, inputs, size, size)
        filters = self._random.standard_normal(shape, dtype=np.float32)
        filters *= np.float32(np.sqrt(2 / (inputs * size * size)))
        if size == 1:
            return np.abs(filters[:, :, 0, 0])
        return np.abs(np.fft.rfft2(filters, s=(8, 8))).max((2, 3))


def msd(regime: str, depth: int = 100, seed: int = 0) -> ChannelGraph:
    """A mixed-scale dense network of width 1: every layer reads all before it."""
    layers = Layers(regime, seed)
    image = layers.channels(1)
    for _ in range(depth):
        image = np.concatenate([image, layers.conv(image, 1)])
    return layers.graph()


def unet4(regime: str, width: int = 64, seed: int = 0) -> ChannelGraph:
    """A U-Net with four poolings and transposed convolutions."""
    layers = Layers(regime, seed)
    x = layers.channels(1)
    skips = []
    for factor in (1, 2, 4, 8, 8):
        x = layers.conv(layers.conv(x, factor * width), factor * width)
        skips.append(x)
    for factor, skip in zip((4, 2, 1, 1), reversed(skips[:-1]), strict=True):
        x = np.concatenate([skip, layers.conv(x, x.size, size=2)])
        x = layers.conv(layers.conv(x, factor * width), factor * width)
    layers.conv(x, 5, size=1)
    return layers.graph()


def fcn_resnet50(regime: str, seed: int = 0) -> ChannelGraph:
    """A fully convolutional network on a ResNet50."""
    layers = Layers(regime, seed)
    x = layers.conv(layers.channels(3), 64, size=7)
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            y = layers.conv(layers.conv(layers.conv(x, width, 1), width, 3), 4 * width, 1)
            x = layers.add(layers.conv(x, 4 * width, 1) if block == 0 else x, y)
    layers.conv(layers.conv(x, 512, 3), 12, 1)
    return layers.graph()


GRAPHS: dict[str, Callable[[str], ChannelGraph]] = {
    "MS-D 100": msd,
    "U-Net4": unet4,
    "FCN-ResNet50": fcn_resnet50,
}
"""Networks by name."""
