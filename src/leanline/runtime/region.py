"""A region of a network as a module that the plane kernels run."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from leanline.errors import ConfigError
from leanline.kernels.program import PlaneProgram
from leanline.runtime.builder import ZERO, Builder, Numbers, Value
from leanline.runtime.interpret import interpret, set_head, set_shapes
from leanline.runtime.parse import Convolution, shape_of, values_read
from leanline.runtime.partition import Region
from leanline.runtime.planes import Planes

Images = Float[Tensor, "batch _ _ _"]
LARGEST_HEAD = 16
"""Outputs of a final 1x1 layer up to which it is computed densely, all at once."""


def build_program(
    region: Region, padding: str, shapes: dict[str, int]
) -> tuple[PlaneProgram, Numbers, tuple[int, ...]]:
    """Make a region's plane program.

    Args:
        region: the operations.
        padding: what lies around pictures.
        shapes: by the name of a convolution's node, the shape of tiles that suits it.

    Returns:
        The program, its numbers, and for each of the region's outputs which of the program's it is.
    """
    builder = Builder(padding)
    values: dict[object, Value] = {}
    for node in region.inputs:
        shape = shape_of(node)
        assert shape is not None
        values[node] = builder.input(shape[1])
    last = _head_of(region)
    for node, parsed in region.nodes.items():
        sources = [values[source] for source in values_read(node)]
        if node is last and not any(sources[0].around) and set(sources[0].planes) != {ZERO}:
            assert isinstance(parsed, Convolution)
            set_head(builder, parsed, sources[0])
            continue
        alone = all(len(source.users) == 1 for source in values_read(node))
        values[node] = interpret(builder, parsed, sources, alone)
        if node.name in shapes:
            set_shapes(builder, values[node], shapes[node.name])
    named = [node for node in region.outputs if node in values]
    program, numbers = builder.finish([values[node] for node in named])
    places = {node: i for i, node in enumerate(named)}
    return program, numbers, tuple(places.get(node, len(named)) for node in region.outputs)


def _head_of(region: Region) -> object:
    """The final 1x1 layer with few outputs, if the region ends with one."""
    for node in reversed(region.outputs):
        parsed = region.nodes[node]
        if not isinstance(parsed, Convolution) or isinstance(parsed.layer, nn.ConvTranspose2d):
            continue
        plain = parsed.window.row[1:] == (1, 1, 1, 1, 1, 1, 0, 0, 0, 0)
        inside = any(user in region.nodes for user in node.users)
        small = parsed.layer.groups == 1 and parsed.layer.out_channels <= LARGEST_HEAD
        if plain and small and not inside:
            return node
    return None


def check_threads(threads: int | None) -> int:
    """The thread count that is meant: PyTorch's when none is given.

    Raises:
        ConfigError: no whole number, or one below 1.
    """
    if threads is None:
        return torch.get_num_threads()
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ConfigError(f"threads={threads!r}: must be a whole number, at least 1")
    return threads


class PlaneRegion(nn.Module):
    """Operations of a network that the plane kernels run: a snapshot of the model's numbers.

    Args:
        program: what to run (see `Planes`).
        numbers: what to run it with.
        outputs: which of the program's outputs are returned; a tuple if there are several.
        threads: number of threads on the CPU.
    """

    taps: Tensor
    bias: Tensor
    head: Tensor
    head_bias: Tensor

    def __init__(
        self, program: PlaneProgram, numbers: Numbers, outputs: tuple[int, ...], threads: int
    ) -> None:
        super().__init__()
        self.outputs = outputs
        self.planes = Planes(program, threads)
        for name in ("taps", "bias", "head", "head_bias"):
            value = np.asarray(getattr(numbers, name), np.float32)
            self.register_buffer(name, torch.from_numpy(value.copy()))

    def forward(self, *images: Images) -> Images | tuple[Images, ...]:
        """Compute the region."""
        found = self.planes(images, (self.taps, self.bias, self.head, self.head_bias))
        results = tuple(found[i] for i in self.outputs)
        return results[0] if len(results) == 1 else results

    def extra_repr(self) -> str:
        """Its size, for ``print``."""
        program = self.planes.program
        return (
            f"{program.source.size} filters, {len(program.steps)} planes computed, "
            f"{len(program.windows)} kinds of window, threads={self.planes.threads}"
        )
