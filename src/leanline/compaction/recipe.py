"""The recipe of a compact network: how it is rebuilt from the dense architecture, as plain JSON.

It holds the example's shapes and, for each operation that lost channels, the indices that stayed.
The architecture's name is for the record; it is never imported.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leanline.compaction.plan import CompactPlan
from leanline.errors import CheckpointError
from leanline.graph.program import Program
from leanline.types import ExampleInputs
from leanline.version import __version__

FORMAT = 1
_LARGEST_INPUT = 2**28  # elements of all example inputs together; they are only traced
_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float32,
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.uint8,
        torch.int32,
        torch.int64,
        torch.bool,
    )
}

Kept = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Recipe:
    """What `save` writes beside the tensors.

    Attributes:
        architecture: class of the dense network, for the record.
        inputs: shape and dtype of each example input.
        live: operation to the channels of its result that are computed, where not all are.
        reads: layer to the input channels that it reads, where not all are.
        leanline: version that made it.
        torch: version of PyTorch that made it.
        format: version of this layout.
    """

    architecture: str
    inputs: tuple[tuple[tuple[int, ...], str], ...]
    live: Kept
    reads: Kept
    leanline: str = __version__
    torch: str = str(torch.__version__)
    format: int = FORMAT

    @staticmethod
    def of(
        program: Program,
        plan: CompactPlan,
        architecture: type,
        example_inputs: ExampleInputs,
    ) -> Recipe:
        """The recipe of a plan."""
        inputs = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
        names = [operation.name for operation in program.operations]
        return Recipe(
            architecture=f"{architecture.__module__}.{architecture.__qualname__}",
            inputs=tuple((tuple(t.shape), str(t.dtype).removeprefix("torch.")) for t in inputs),
            live={names[i]: _ids(live) for i, live in enumerate(plan.live) if not live.all()},
            reads={names[i]: _ids(read) for i, read in plan.reads.items() if not read.all()},
        )

    def plan(self, program: Program) -> CompactPlan:
        """The plan, for a freshly traced dense network.

        Raises:
            CheckpointError: the network has no such operations or channels.
        """
        known = {operation.name for operation in program.operations}
        foreign = sorted({*self.live, *self.reads} - known)
        if foreign:
            raise CheckpointError(f"the given network has no operation {foreign[0]!r}")
        live = tuple(
            self._chosen(self.live, operation.name, operation.channels)
            for operation in program.operations
        )
        reads = {
            operation.index: self._chosen(
                self.reads, operation.name, program.operations[operation.inputs[0]].channels
            )
            for operation in program.operations
            if operation.kind in ("convolution", "linear")
        }
        return CompactPlan(live, reads)

    def _chosen(self, kept: Kept, name: str, channels: int) -> np.ndarray:
        if name not in kept:
            return np.ones(channels, bool)
        indices = kept[name]
        if list(indices) != sorted(set(indices)) or not all(0 <= i < channels for i in indices):
            raise CheckpointError(
                f"the channels of {name!r} are not increasing numbers below {channels}"
            )
        return np.isin(np.arange(channels), indices)

    def example_inputs(self) -> tuple[Tensor, ...]:
        """Zeros shaped as the example inputs."""
        return tuple(torch.zeros(shape, dtype=_DTYPES[kind]) for shape, kind in self.inputs)

    def to_json(self) -> str:
        """Write as JSON."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> Recipe:
        """Parse and check a recipe.

        Raises:
            CheckpointError: it is no recipe, of a newer format, or holds impossible values.
        """
        try:
            data: dict[str, Any] = json.loads(text)
            version = data["format"]
            if not isinstance(version, int) or version > FORMAT:
                raise CheckpointError(
                    f"the file has format {version!r}, made by leanline {data.get('leanline')}; "
                    f"this version reads up to {FORMAT}: upgrade leanline"
                )
            inputs = tuple((_shape(shape), _kind(kind)) for shape, kind in data["inputs"])
            if not inputs or sum(math.prod(shape) for shape, _ in inputs) > _LARGEST_INPUT:
                raise ValueError("the sizes of its example inputs")
            return Recipe(
                architecture=str(data["architecture"]),
                inputs=inputs,
                live={str(k): _indices(v) for k, v in data["live"].items()},
                reads={str(k): _indices(v) for k, v in data["reads"].items()},
                leanline=str(data["leanline"]),
                torch=str(data["torch"]),
                format=version,
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
            raise CheckpointError(f"the file's recipe is damaged: {problem!r}") from problem


def _ids(chosen: np.ndarray) -> tuple[int, ...]:
    return tuple(np.flatnonzero(chosen).tolist())


def _indices(values: Any) -> tuple[int, ...]:
    if not isinstance(values, list) or any(type(v) is not int for v in values):
        raise ValueError(f"indices {str(values)[:50]}")
    return tuple(values)


def _shape(values: Any) -> tuple[int, ...]:
    shape = _indices(values)
    if not 1 <= len(shape) <= 6 or min(shape) < 1 or math.prod(shape) > _LARGEST_INPUT:
        raise ValueError(f"input shape {shape}")
    return shape


def _kind(value: Any) -> str:
    if value not in _DTYPES:
        raise ValueError(f"input type {value!r}")
    return str(value)
