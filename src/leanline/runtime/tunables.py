"""What can be tuned in a network on the plane kernels, as a search space, and how it is set.

A configuration is for a whole network. The parameters act together through the caches: an operation
that is timed alone finds its planes in the cache, in the network it does not, and how many filters
a tile should add up at a time comes out the other way round. What is known of single operations,
their times by kernels and in PyTorch and with each shape of tiles, is used as far as it goes: it
says which operations a threshold moves, and which tiles "measured" means.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from leanline.compaction.structure import run, tensors_of
from leanline.kernels.conv3 import SHAPES
from leanline.kernels.layout import Places
from leanline.kernels.plan import bands_of, edges_of
from leanline.kernels.program import FIRST, LAST, PlaneProgram, Sizes
from leanline.kernels.schedule import schedule
from leanline.kernels.tiling import UNTUNED, Tiling
from leanline.runtime.choose import Choice, usual
from leanline.runtime.execute import execute
from leanline.runtime.partition import partition
from leanline.runtime.planes import Planes
from leanline.runtime.region import PlaneRegion
from leanline.tuning import SearchSpace
from leanline.tuning.space import Configuration, Value

EVERYWHERE = 1e9
"""A threshold that lets every convolution run on the kernels."""
THRESHOLDS = (0.5, 0.7, 0.85, 1.0, 1.2, 1.5, EVERYWHERE)
EDGES = (0, 1, 2, 3, 4, 6, 8, 16)
AHEAD = (0, 1, 2)
BAND_KIB = (0, 64, 128, 256, 512, 1024, 2048)
HEAD_PLANES = (4, 8, 16, 32, 128)
MEASURED, USUAL = "measured", "usual"


@dataclass(frozen=True, eq=False)
class Tunable:
    """A network whose plan has parameters.

    Attributes:
        folded: the compact network, batch norms folded, shapes noted.
        choices: what single convolutions take by kernels and in PyTorch; where that was not
            measured, all run on the kernels.
        threads: threads of the kernels, at most.
        inputs: of the size that counts.
    """

    folded: fx.GraphModule
    choices: Mapping[fx.Node, Choice]
    threads: int
    inputs: tuple[Any, ...]

    def untuned(self, threshold: float) -> dict[str, Value]:
        """The configuration that is the plan without tuning.

        Args:
            threshold: 1 where each convolution runs as it was faster alone, `EVERYWHERE` where all
                are on the kernels.
        """
        whole: dict[str, Value] = {
            "threshold": threshold,
            "tiles": MEASURED,
            "edges": UNTUNED.edges,
            "ahead": UNTUNED.ahead,
            "band_kib": UNTUNED.band_bytes >> 10,
            "head_planes": UNTUNED.head_planes,
            "threads": self.threads,
        }
        sparse, shapes = self._sparse(threshold), self._shapes(MEASURED)
        for bound in self._thresholds:
            if self._sparse(bound) == sparse:
                whole["threshold"] = bound
        for tiles in self._tiles:
            if self._shapes(tiles) == shapes:
                whole["tiles"] = tiles
        return {name: whole.get(name, 1) for name in self.space.names}

    def make(self, configuration: Configuration) -> nn.Module:
        """The network as a configuration of `space` wants it."""
        given = {
            "threshold": self._thresholds[0],
            "tiles": self._tiles[0],
            "edges": UNTUNED.edges,
            "ahead": UNTUNED.ahead,
            "band_kib": UNTUNED.band_bytes >> 10,
            "head_planes": UNTUNED.head_planes,
            "threads": self.threads,
            **configuration,
        }
        sparse = self._sparse(float(given["threshold"]))
        shapes = self._shapes(str(given["tiles"]))
        plan = partition(self.folded, set(sparse))
        network = execute(self.folded, plan, shapes, int(given["threads"]))
        tiling = Tiling(
            edges=int(given["edges"]),
            ahead=int(given["ahead"]),
            band_bytes=int(given["band_kib"]) << 10,
            head_planes=int(given["head_planes"]),
        )
        for region in _regions(network):
            program = dataclasses.replace(region.planes.program, tiling=tiling)
            region.planes = Planes(program, region.planes.threads)
        return network

    @cached_property
    def space(self) -> SearchSpace:
        """The configurations: only parameters, and values of them, that change this network."""
        whole = self.make({})
        found = _sizes(whole, self.inputs)
        widest = max((_widest(program) for program, _ in found), default=0)
        heads = [program.head.size for program, _ in found]
        values: dict[str, Sequence[Value]] = {
            "threshold": self._thresholds,
            "tiles": self._tiles,
            "edges": _telling(
                [n for n in EDGES if n <= max(widest, 1)],
                UNTUNED.edges,
                lambda n: _edges(found, int(n)),
            ),
            "ahead": _telling(AHEAD, UNTUNED.ahead, lambda n: n if n < widest else 0),
            "band_kib": _telling(
                BAND_KIB, UNTUNED.band_bytes >> 10, lambda kib: _bands(found, int(kib) << 10)
            ),
            "head_planes": _telling(
                HEAD_PLANES, UNTUNED.head_planes, lambda n: [-(-size // n) for size in heads]
            ),
            "threads": _powers(self.threads),
        }
        telling = {name: each for name, each in values.items() if len(each) > 1 and found}
        return SearchSpace(telling or _NOTHING)

    @cached_property
    def key(self) -> str:
        """All that times depend on, but processor and versions."""
        digest = hashlib.sha256(self.folded.code.encode())
        for name, tensor in self.folded.state_dict().items():
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        for region in _regions(self.make({})):
            digest.update(region.planes.program.key.encode())
        chosen = [
            (value, sorted(n.name for n in self._sparse(value))) for value in self._thresholds
        ]
        tiles = [sorted(self._shapes(value).items()) for value in self._tiles]
        shapes = [tuple(tensor.shape) for tensor in tensors_of(self.inputs)]
        space = dict(zip(self.space.names, self.space.values, strict=True))
        digest.update(f"{chosen} {tiles} {shapes} {space} {torch.get_num_threads()}".encode())
        return digest.hexdigest()

    @cached_property
    def _thresholds(self) -> tuple[float, ...]:
        return tuple(_telling(THRESHOLDS, 1.0, lambda value: self._sparse(float(value)))) or (1.0,)

    @cached_property
    def _tiles(self) -> tuple[str, ...]:
        fixed = [f"{rows}x{vectors}" for rows, vectors in SHAPES]
        return tuple(_telling((MEASURED, USUAL, *fixed), MEASURED, lambda v: self._shapes(str(v))))

    def _sparse(self, threshold: float) -> frozenset[fx.Node]:
        """Convolutions on the kernels; where none is left, all."""
        chosen = frozenset(
            node
            for node, choice in self.choices.items()
            if not choice.planes_ms >= threshold * choice.dense_ms
        )
        return chosen or frozenset(self.choices)

    def _shapes(self, tiles: str) -> dict[str, int]:
        if tiles == MEASURED:
            return {node.name: choice.shape for node, choice in self.choices.items()}
        if tiles == USUAL:
            return {node.name: choice.shape for node, choice in usual(self.folded).items()}
        rows, vectors = map(int, tiles.split("x"))
        return dict.fromkeys((node.name for node in self.choices), SHAPES.index((rows, vectors)))


_NOTHING: dict[str, Sequence[Value]] = {"threads": [1]}
"""The space of a network in which nothing can be tuned."""


def _telling(values: Sequence[Any], default: Any, outcome: Callable[[Any], object]) -> list[Any]:
    """The values that lead to different outcomes; of equal ones the default, or else the first."""
    found: list[tuple[object, Any]] = []
    for value in (default, *(value for value in values if value != default)):
        result = outcome(value)
        if all(result != other for other, _ in found):
            found.append((result, value))
    kept = [value for _, value in found]
    return [value for value in values if value in kept]


def _powers(most: int) -> list[int]:
    """1, 2, 4, ... and the largest itself."""
    return sorted({*(1 << i for i in range(most.bit_length()) if 1 << i <= most), most})


def _regions(network: nn.Module) -> list[PlaneRegion]:
    return [part for part in network.modules() if isinstance(part, PlaneRegion)]


def _sizes(network: nn.Module, inputs: tuple[Any, ...]) -> list[tuple[PlaneProgram, Sizes]]:
    """Each region's program, and the sizes of the pictures that it gets."""
    found: list[tuple[PlaneProgram, Sizes]] = []

    def note(region: nn.Module, images: tuple[Tensor, ...]) -> None:
        assert isinstance(region, PlaneRegion)
        sizes = tuple((int(image.shape[2]), int(image.shape[3])) for image in images)
        found.append((region.planes.program, sizes))

    hooks = [region.register_forward_pre_hook(note) for region in _regions(network)]
    run(network, inputs)
    for hook in hooks:
        hook.remove()
    return found


def _widest(program: PlaneProgram) -> int:
    return int((program.steps[:, LAST] - program.steps[:, FIRST]).max(initial=0))


def _edges(found: Sequence[tuple[PlaneProgram, Sizes]], count: int) -> list[list[int]]:
    """How many edges each region's groups add up at a time."""
    cut = [dataclasses.replace(program, tiling=Tiling(edges=count)) for program, _ in found]
    return [edges_of(program, schedule(program).groups).tolist() for program in cut]


def _bands(found: Sequence[tuple[PlaneProgram, Sizes]], size: int) -> list[list[int]]:
    """Into how many bands each region's groups are cut."""
    result = []
    for program, sizes in found:
        cut = dataclasses.replace(program, tiling=Tiling(band_bytes=size))
        grids = Places(program, sizes, np.zeros(len(program.grid), np.int64)).grids
        result.append(bands_of(cut, schedule(program).groups, grids).tolist())
    return result
