"""`apply`: a network on every slice of a volume, streamed and resumable."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from leanline.data import volumes
from leanline.data.volumes import Layout, Place, Sink, Source
from leanline.errors import ConfigError, RunError
from leanline.inference import tiles, values
from leanline.inference.applied import Applied
from leanline.inference.config import ApplyConfig
from leanline.inference.engine import Engine
from leanline.inference.journal import Journal
from leanline.inference.work import Done, How, Job, Work, layout_of, split_jobs
from leanline.masks import baked_copy
from leanline.records.configuration import describe_difference
from leanline.records.progress import Bar, bar
from leanline.records.tensors import checksum
from leanline.types import PathLike
from leanline.version import __version__

FAR = 10.0
"""Standard deviations between the mean of a slice and of the training pictures that are odd."""

log = logging.getLogger(__name__)


def apply(
    network: nn.Module, source: PathLike, out: PathLike, config: ApplyConfig | None = None
) -> Applied:
    """Run a network on every slice of a volume and write what comes out.

    Reading, computing and writing go on at the same time; the memory does not depend on the number
    of slices. The output gets its name when it is complete. Until then it lies at `OUT.partial`,
    with a journal beside it: called again, also after a kill, `apply` goes on from there. A
    finished output of the same network, input and settings is left as it is.

    Args:
        network: from pictures to results of the same height and width; dense, masked or compacted.
            Not changed.
        source: a folder of pictures, a TIFF stack, a Zarr array (`store.zarr/path`) or an HDF5
            dataset (`file.h5:/dataset`).
        out: where the results go; its name says the format, as for `source`.
        config: how.

    Raises:
        ConfigError: the output cannot be there, or the settings do not fit the network.
        DataError: the input cannot be read; the slices before the damaged one are done.
        ModelError: the network does not run on such pictures, or they are too large and cannot be
            cut into tiles.
        RunError: the output exists and is another one, or cannot be written.
    """
    config = config or ApplyConfig()
    with opened(network, source, out, config) as task:
        if task.sink is None:
            return task.finished()
        work = Work(task.engine, task.source, task.sink, task.how, task.layout.dtype)
        with task.bar() as advance:
            done = work.run(task.jobs, task.commit, config.commit, advance)
        return task.finish(done)


@dataclass
class Task:
    """An output that is being made.

    Attributes:
        place: where it will be.
        source: the input.
        journal: what of it is done.
        record: what it is made of: network, input and settings.
        jobs: what there is left to do.
        ready: seconds that it took to make the network ready.
    """

    place: Place
    source: Source
    journal: Journal
    record: Mapping[str, Any]
    jobs: list[Job] = field(default_factory=list)
    ready: float = 0.0
    _made: tuple[Engine, How, Layout, Sink] | None = None

    @property
    def sink(self) -> Sink | None:
        """The output; None where it was finished before."""
        return None if self._made is None else self._made[3]

    @property
    def engine(self) -> Engine:
        """The network."""
        assert self._made is not None
        return self._made[0]

    @property
    def how(self) -> How:
        """How the output is computed."""
        assert self._made is not None
        return self._made[1]

    @property
    def layout(self) -> Layout:
        """The form of the output."""
        assert self._made is not None
        return self._made[2]

    def begin(self, engine: Engine, how: How) -> None:
        """Begin the output, or go on with it."""
        layout = layout_of(self.source, how, engine.outputs, self.record)
        if self.journal.done and not self.place.partial.exists():
            log.warning("%s is gone; it is made anew", self.place.partial)
            self.journal.header = None
        if self.journal.header is None:
            if self.place.partial.exists():
                raise RunError(
                    f"{self.place.partial} is there without the journal {self.journal.path}; "
                    "remove it"
                )
            self.journal.begin({**self.record, "how": how.to_dict()})
        self._made = engine, how, layout, volumes.create_sink(self.place, layout)
        done = self.journal.done
        self.jobs = [
            job for job in split_jobs(self.source, how) if done.get(job) != self.source.stamp(*job)
        ]

    def commit(self, jobs: list[Job]) -> None:
        """Note that jobs are done and on the disk."""
        self.journal.add({job: self.source.stamp(*job) for job in jobs})

    @contextlib.contextmanager
    def bar(self) -> Iterator[Callable[[int], None]]:
        """Show progress; yields what is told the number of slices that were written."""
        begin, written = time.perf_counter(), 0
        with bar(str(self.place.path.name), total=self.source.slices) as report:
            found = self.source.slices - sum(stop - start for start, stop in self.jobs)
            if found:
                report.advance(found)

            def advance(slices: int) -> None:
                nonlocal written
                written += slices
                rate = written / max(1e-9, time.perf_counter() - begin)
                _advance(report, slices, rate)

            yield advance

    def finish(self, done: Done) -> Applied:
        """Give the output its name, after all jobs."""
        assert self.sink is not None
        if done.not_finite:
            shown = ", ".join(str(index) for index in done.not_finite[:5])
            log.warning(
                "%s: %d slice(s) hold NaN or infinite values, and so may the results: %s%s",
                self.source.place,
                len(done.not_finite),
                shown,
                ", ..." if len(done.not_finite) > 5 else "",
            )
        self.sink.finish()
        self.journal.remove()
        sizes = {self.source.size(index) for index in range(self.source.slices)}
        cut = any(height * width > self.how.pixels for height, width in sizes)
        seen = self.engine.field
        overlap = (seen.before[0], seen.after[0], seen.before[1], seen.after[1])
        slices = self.source.slices
        found = slices - done.slices
        cut_by = overlap if cut else None
        return Applied(str(self.place), slices, found, self.how, cut_by, done, self.ready)

    def finished(self) -> Applied:
        """What is said where the output had been finished before."""
        return Applied(str(self.place), self.source.slices, self.source.slices, None)


def _advance(report: Bar, slices: int, rate: float) -> None:
    report.advance(slices, rate=f"{rate:.3g} slices/s")


@contextlib.contextmanager
def opened(
    network: nn.Module, source: PathLike, out: PathLike, config: ApplyConfig
) -> Iterator[Task]:
    """Open an input and its output, and make ready what lies in between."""
    begin = time.perf_counter()
    place = volumes.place_output(out, source)
    with contextlib.ExitStack() as stack:
        volume = stack.enter_context(contextlib.closing(volumes.open_source(source)))
        journal = Journal(place.beside)
        stack.callback(journal.release)
        wanted = {
            "network": fingerprint(network),
            "input": dict(volume.identity()),
            "output": config.output or "default",
            "scale": None if config.pair is None else list(config.pair),
        }
        record = {"made_by": f"leanline {__version__}", "wanted": wanted}
        task = Task(place, volume, journal, record)
        if volumes.exists(place):
            _check_same(str(place), volumes.read_record(place), wanted)
            _check_newer(place, source, volume)
            journal.remove()
            yield task
            return
        if journal.header is not None:
            if not config.resume:
                raise RunError(f"{place.partial} is half finished; remove it, or allow to resume")
            _check_same(str(place.partial), journal.header, wanted)
        engine, how = _plan(network, volume, config, journal.header)
        task.begin(engine, how)
        assert task.sink is not None
        stack.callback(task.sink.close)
        task.ready = time.perf_counter() - begin
        yield task


def fingerprint(network: nn.Module) -> str:
    """What tells a network's values from another one's, masks included."""
    state = baked_copy(network).state_dict()
    return checksum({k: v.detach().cpu().contiguous() for k, v in state.items()}, {})[:16]


def _check_same(place: str, record: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> None:
    before = record.get("wanted") if record else None
    if not isinstance(before, Mapping):
        raise RunError(f"{place} exists and was not made by leanline apply; choose another place")
    differences = describe_difference(before, wanted)
    if differences:
        raise RunError(
            f"{place} was made with something else: {'; '.join(differences)}. Choose another "
            "place, or remove it"
        )


def _check_newer(place: Place, source: PathLike, volume: Source) -> None:
    """Refuse to take an output for that of an input which was written to after it."""
    origin = volumes.parse_place(source)
    if origin is None or "changed" in volume.identity():  # which was compared
        return
    if volumes.last_change(origin) > volumes.last_change(place):
        raise RunError(
            f"{place} is there, and {origin} was changed after it was made. Choose another place, "
            "or remove it"
        )


def _plan(
    network: nn.Module, volume: Source, config: ApplyConfig, header: Mapping[str, Any] | None
) -> tuple[Engine, How]:
    """Make the network ready; a run that goes on computes as it began."""
    before = None if header is None else How.from_dict(header["how"])
    backend = config.backend if before is None else before.backend
    sizes = {volume.size(index) for index in range(volume.slices)}
    size = max(sizes, key=math.prod)
    engine = Engine(network, volume.channels, size, backend, config.threads)
    threads = config.threads or torch.get_num_threads()
    how = _settled(engine, volume, config, size, threads) if before is None else before
    for name in ("backend", "batch", "tile"):
        asked, was = getattr(config, name), getattr(how, {"tile": "side"}.get(name, name))
        if before is not None and asked not in (None, "auto", was):
            raise RunError(f"the half-finished output has {name} {was}, now {asked} is asked for")
    largest = math.prod(size)
    if largest > how.pixels:
        tiles.layout(size, how.side, engine.field)  # says why it cannot be cut
        if before is None:
            engine.check_field()
    if before is None and engine.backend == "auto":
        engine.prepare(_call_shape(volume, how, engine, size))
    how = How(**{**vars(how), "backend": engine.backend})
    if how.scale is not None:
        _compare_scale(volume, *how.scale)
    return engine, how


def _compare_scale(volume: Source, mean: float, std: float) -> None:
    """Say so when pictures are far from those that the network was trained on."""
    found = float(np.asarray(volume.read(0, 1), np.float64).mean())
    if abs(found - mean) > FAR * std:
        log.warning(
            "%s has values about %.4g, the network was trained on %.4g +- %.4g: are they of "
            "another depth (8 or 16 bits) or unit?",
            volume.place,
            found,
            mean,
            std,
        )


def _settled(
    engine: Engine, volume: Source, config: ApplyConfig, size: tuple[int, int], threads: int
) -> How:
    output = config.output or values.default_output(volume.channels, engine.outputs)
    values.form_of(output, engine.outputs, volume.dtype)
    pixels, largest = math.inf, math.prod(size)
    if engine.field.pixel_bytes:
        pixels = config.memory * 1e9 / engine.field.pixel_bytes
    cut = largest > (config.tile**2 if config.tile else pixels)
    if cut and not engine.field.finite:
        need = largest * engine.field.pixel_bytes / 1e9
        tiles.layout(size, 1, engine.field) if config.tile else None
        raise ConfigError(
            f"pictures of {size[0]} x {size[1]} take about {need:.1f} GB, and they cannot be cut "
            f"into tiles for this network: {engine.field.far}. Allow more by --memory "
            f"{math.ceil(need)}"
        )
    batch = config.batch or int(max(1, min(threads, volume.slices, pixels // largest)))
    if not cut:
        return How(output, engine.backend, batch, largest, max(size), config.pair)
    batch = config.batch or threads
    side = config.tile or tiles.largest_side(pixels / batch, engine.field)
    most = config.tile**2 if config.tile else int(pixels)
    return How(output, engine.backend, batch, most, side, config.pair)


def _call_shape(
    volume: Source, how: How, engine: Engine, size: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Of what the network is given in one call."""
    if math.prod(size) <= how.pixels:
        return how.batch, volume.channels, *size
    layout = tiles.layout(size, how.side, engine.field)
    largest = max((tile.size for tile in layout), key=math.prod)
    count = sum(tile.size == largest for tile in layout)
    return min(how.batch, count), volume.channels, *largest
