"""How a network is applied to a volume."""

from __future__ import annotations

from dataclasses import dataclass

from leanline.data import Normalisation
from leanline.errors import ConfigError
from leanline.inference import values


@dataclass(frozen=True)
class ApplyConfig:
    """How a network is applied.

    Attributes:
        output: one of `leanline.inference.values.OUTPUTS`; None takes labels or a picture, by the
            network's output channels.
        scale: the normalisation that the network was trained with; None gives it the values of the
            files.
        backend: of `leanline.compile`.
        threads: of the kernels; by default as many as PyTorch uses.
        batch: slices in one call; by default one a thread, as far as the memory goes.
        tile: pixels of a tile's side, for pictures that are larger; by default pictures are cut
            where computing one would take more than `memory`, into tiles as large as that allows.
        memory: what computing may take, in GB, beside the slices on their way.
        resume: whether a half-finished output may be gone on with.
        commit: seconds between two notes of what is done; a killed run repeats so much.
    """

    output: str | None = None
    scale: Normalisation | None = None
    backend: str = "auto"
    threads: int | None = None
    batch: int | None = None
    tile: int | None = None
    memory: float = 2.0
    resume: bool = True
    commit: float = 1.0

    def __post_init__(self) -> None:
        for name in ("threads", "batch", "tile"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"ApplyConfig({name}={value}): must be at least 1")
        if not self.memory > 0:
            raise ConfigError(f"ApplyConfig(memory={self.memory}): must be above 0")
        if self.output is not None and self.output not in values.OUTPUTS:
            raise ConfigError(
                f"ApplyConfig(output={self.output!r}): must be one of {', '.join(values.OUTPUTS)}"
            )
        if self.scale is not None and not self.scale.std > 0:
            raise ConfigError(f"ApplyConfig(scale={self.scale}): the deviation must be above 0")

    @property
    def pair(self) -> tuple[float, float] | None:
        """Mean and standard deviation of the normalisation."""
        return None if self.scale is None else (float(self.scale.mean), float(self.scale.std))
