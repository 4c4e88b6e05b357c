"""The recipe of a compact network: how it is rebuilt from the dense architecture, as plain JSON.

It holds the example's shapes and, for each operation that lost channels, the indices that stayed.
The architecture's name is for the record; it is never imported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from leanline.compaction.any_size import Sized
from leanline.compaction.plan import CompactPlan
from leanline.compaction.recipe_inputs import check_inputs, write_inputs
from leanline.errors import CheckpointError
from leanline.graph.program import Program
from leanline.version import __version__

FORMAT = 1
_LONGEST = 1000  # characters of what is said about sizes
Kept = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Recipe:
    """What `save` writes beside the tensors.

    Attributes:
        architecture: class of the dense network, for the record.
        inputs: what the network was traced with, as `write_inputs` says; None if that cannot be
            written, and the network not saved.
        other: what it was traced with once more, to tell sizes from other numbers; None if once
            was enough.
        sizes: at which sizes it works, as in `meta["sizes"]`.
        live: operation to the channels of its result that are computed, where not all are.
        reads: layer to the input channels that it reads, where not all are.
        channels: operation to the channels that it has in the dense network, where `live` names it;
            as ``name:in`` those that a layer of `reads` may read.
        frozen: parameters of the compact network that are not trained, when it was saved.
        leanline: version that made it.
        torch: version of PyTorch that made it.
        format: version of this layout.
    """

    architecture: str
    inputs: list[Any] | None
    other: list[Any] | None
    sizes: str
    live: Kept
    reads: Kept
    channels: Mapping[str, int] = field(default_factory=dict)
    frozen: tuple[str, ...] = ()
    leanline: str = __version__
    torch: str = str(torch.__version__)
    format: int = FORMAT

    @staticmethod
    def of(sized: Sized, architecture: type) -> Recipe:
        """The recipe of a compact network.

        Args:
            sized: the network.
            architecture: class of the dense one.
        """
        program, plan = sized.built.program, sized.built.plan
        names = [operation.name for operation in program.operations]
        return Recipe(
            architecture=f"{architecture.__module__}.{architecture.__qualname__}",
            inputs=write_inputs(sized.built.arguments),
            other=None if sized.other is None else write_inputs(sized.other),
            sizes=sized.sizes,
            live={names[i]: _ids(live) for i, live in enumerate(plan.live) if not live.all()},
            reads={names[i]: _ids(read) for i, read in plan.reads.items() if not read.all()},
            channels={names[i]: live.size for i, live in enumerate(plan.live) if not live.all()}
            | {_source(names[i]): r.size for i, r in plan.reads.items() if not r.all()},
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
            self._chosen(self.live, operation.name, operation.channels, operation.name)
            for operation in program.operations
        )
        reads = {
            operation.index: self._chosen(
                self.reads,
                operation.name,
                program.operations[operation.inputs[0]].channels,
                _source(operation.name),
            )
            for operation in program.operations
            if operation.kind in ("convolution", "linear")
        }
        return CompactPlan(live, reads)

    def _chosen(self, kept: Kept, name: str, channels: int, known: str) -> np.ndarray:
        if name not in kept:
            return np.ones(channels, bool)
        if self.channels.get(known, channels) != channels:
            raise CheckpointError(
                f"{known!r} has {self.channels[known]} channels in the file and {channels} in the "
                "network"
            )
        indices = kept[name]
        if list(indices) != sorted(set(indices)) or not all(0 <= i < channels for i in indices):
            raise CheckpointError(
                f"the channels of {name!r} are not increasing numbers below {channels}"
            )
        return np.isin(np.arange(channels), indices)

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
            other = data.get("other")
            return Recipe(
                architecture=str(data["architecture"]),
                inputs=check_inputs(data["inputs"]),
                other=None if other is None else check_inputs(other),
                sizes=str(data.get("sizes", ""))[:_LONGEST],
                live={str(k): _indices(v) for k, v in data["live"].items()},
                reads={str(k): _indices(v) for k, v in data["reads"].items()},
                channels={str(k): _count(v) for k, v in data.get("channels", {}).items()},
                frozen=tuple(str(name) for name in data.get("frozen", ())),
                leanline=str(data["leanline"]),
                torch=str(data["torch"]),
                format=version,
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
            raise CheckpointError(f"the file's recipe is damaged: {problem!r}") from problem


def _ids(chosen: np.ndarray) -> tuple[int, ...]:
    return tuple(np.flatnonzero(chosen).tolist())


def _source(name: str) -> str:
    return f"{name}:in"


def _count(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"channels {str(value)[:50]}")
    return value


def _indices(values: Any) -> tuple[int, ...]:
    if not isinstance(values, list) or any(type(v) is not int for v in values):
        raise ValueError(f"indices {str(values)[:50]}")
    return tuple(values)
