"""The slices of one volume on their way through a network, in one process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from leanline.data import Normalisation
from leanline.data.volumes import Layout, Sink, Source, Values
from leanline.inference import tiles, values
from leanline.inference.engine import Engine
from leanline.inference.stream import Steps, Times, stream

Job = tuple[int, int]
"""Slices start to stop, of one size: what is computed in one call."""


@dataclass(frozen=True)
class How:
    """Everything that the values of an output depend on, beside network and input.

    Attributes:
        output: one of `values.OUTPUTS`.
        backend: of the network.
        batch: slices, or tiles, in one call.
        pixels: larger pictures are cut into tiles.
        side: pixels that are kept of a tile, each way.
        scale: mean and standard deviation of the normalisation; None for none.
    """

    output: str
    backend: str
    batch: int
    pixels: int
    side: int
    scale: tuple[float, float] | None

    @property
    def normalisation(self) -> Normalisation | None:
        """What pictures go through."""
        return None if self.scale is None else Normalisation(*self.scale)

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {**asdict(self), "scale": None if self.scale is None else list(self.scale)}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> How:
        """From what `to_dict` made."""
        scale = data["scale"]
        return How(**{**data, "scale": None if scale is None else (scale[0], scale[1])})


@dataclass
class Done:
    """What came of some jobs.

    Attributes:
        times: where the time went.
        not_finite: slices that hold NaN or infinite values.
        slices: how many were computed.
    """

    times: Times = field(default_factory=Times)
    not_finite: list[int] = field(default_factory=list)
    slices: int = 0

    def add(self, other: Done) -> None:
        """Add other jobs of the same volume."""
        self.times.add(other.times)
        self.not_finite = sorted({*self.not_finite, *other.not_finite})
        self.slices += other.slices


def split_jobs(source: Source, how: How) -> list[Job]:
    """All jobs of a volume, always the same."""
    jobs: list[Job] = []
    start = 0
    for index in range(1, source.slices + 1):
        same = index < source.slices and source.size(index) == source.size(start)
        height, width = source.size(start)
        most = 1 if height * width > how.pixels else how.batch
        if not same or index - start == most:
            jobs.append((start, index))
            start = index
    return jobs


def layout_of(source: Source, how: How, outputs: int, record: Mapping[str, Any]) -> Layout:
    """The form of the output."""
    dtype, channels = values.form_of(how.output, outputs, source.dtype)
    sizes = [source.size(index) for index in range(source.slices)]
    return Layout(sizes, dtype, channels, record, source.traits)


class Work:
    """Runs jobs of a volume.

    Args:
        engine: the network.
        source: the input.
        sink: the output.
        how: everything else.
        dtype: of the output.
    """

    def __init__(
        self, engine: Engine, source: Source, sink: Sink, how: How, dtype: np.dtype[Any]
    ) -> None:
        self._engine, self._source, self._sink = engine, source, sink
        self._how, self._dtype, self._scale = how, dtype, how.normalisation

    def run(
        self,
        jobs: Sequence[Job],
        commit: Callable[[list[Job]], None],
        seconds: float,
        advance: Callable[[int], None],
    ) -> Done:
        """Read, compute and write jobs.

        Args:
            jobs: of `split_jobs`.
            commit: told which jobs are on the disk.
            seconds: how often.
            advance: told how many slices were written since the last call.
        """
        done, written = Done(), _Written(self._sink, commit, seconds)
        done_lock = threading.Lock()

        def read(job: Job) -> tuple[Values, Tensor | None]:
            found = self._source.read(*job)
            if found.dtype.kind == "f":
                for index, one in enumerate(found):
                    if not np.isfinite(one).all():
                        with done_lock:
                            done.not_finite.append(job[0] + index)
            if self._is_cut(job):
                return found, None
            return found[:0], values.prepare(found, self._scale)

        def compute(job: Job, given: tuple[Values, Tensor | None]) -> Tensor | np.ndarray:
            found, images = given
            return self._cut(found) if images is None else self._engine(images)

        def write(job: Job, made: Tensor | np.ndarray) -> None:
            ready = self._finish(made) if isinstance(made, Tensor) else made
            written.write(job, ready)
            done.slices += job[1] - job[0]
            advance(job[1] - job[0])

        stream(jobs, Steps(read, compute, write, written.flush), done.times)
        return done

    def _is_cut(self, job: Job) -> bool:
        height, width = self._source.size(job[0])
        return height * width > self._how.pixels

    def _cut(self, found: Values) -> np.ndarray:
        def run(parts: np.ndarray) -> np.ndarray:
            return self._finish(self._engine(values.prepare(parts, self._scale)))

        picture = found[0]
        layout = tiles.layout(picture.shape[:2], self._how.side, self._engine.field)
        return tiles.run_tiles(run, picture, layout, self._how.batch)[None]

    def _finish(self, answers: Tensor) -> np.ndarray:
        return values.finish(self._how.output, answers, self._dtype, self._scale)


class _Written:
    """Writes, and now and then brings what was written to the disk and says so."""

    def __init__(self, sink: Sink, commit: Callable[[list[Job]], None], seconds: float) -> None:
        self._sink, self._commit, self._seconds = sink, commit, seconds
        self._waiting: list[Job] = []
        self._last = time.monotonic()

    def write(self, job: Job, ready: np.ndarray) -> None:
        self._sink.write(job[0], ready)
        self._waiting.append(job)
        if time.monotonic() - self._last >= self._seconds:
            self.flush()

    def flush(self) -> None:
        if self._waiting:
            self._sink.sync()
            self._commit(self._waiting)
        self._waiting, self._last = [], time.monotonic()
