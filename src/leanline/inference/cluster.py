"""`apply` on several processes or machines, by Dask: a task for some neighbouring slices."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from leanline.data import volumes
from leanline.data.volumes import Layout, Place
from leanline.inference.applied import Applied
from leanline.inference.apply import Task, opened
from leanline.inference.config import ApplyConfig
from leanline.inference.engine import Engine
from leanline.inference.work import Done, How, Job, Work
from leanline.records.cluster import Cluster, connect
from leanline.types import PathLike

_TASKS = 8
"""Tasks for each worker, about: the fewer, the less a killed run repeats."""


@dataclass(frozen=True)
class _Slab:
    """Some jobs of a volume, and all that a worker needs to do them."""

    load: Callable[[], nn.Module]
    network: str  # tells it from other networks
    source: str
    size: tuple[int, int]
    place: Place
    layout: Layout
    how: How
    threads: int
    jobs: list[Job]


def apply_on_cluster(
    load: Callable[[], nn.Module],
    pairs: Sequence[tuple[PathLike, PathLike]],
    config: ApplyConfig,
    cluster: Cluster,
) -> Iterator[Applied]:
    """Run a network on volumes, each in slabs on all workers; the results are those of `apply`.

    Args:
        load: makes the network; called once in this process and once in each worker, to which it
            is sent, so it must be a function of a module or a `functools.partial` of one.
        pairs: inputs and outputs, as for `apply`.
        config: as for `apply`; `threads` is of each worker, by default 1.
        cluster: who does the work.

    Yields:
        What came of each volume.

    Raises:
        RunError: Dask is not installed, or its scheduler does not answer; and what `apply` raises.
    """
    network = load()
    with connect(cluster) as client:
        for source, out in pairs:
            with opened(network, source, out, config) as task:
                if task.sink is None:
                    yield task.finished()
                else:
                    yield task.finish(_run(client, load, str(source), task, config))


def _run(
    client: Any, load: Callable[[], nn.Module], source: str, task: Task, config: ApplyConfig
) -> Done:
    import time

    from distributed import as_completed

    begin = time.perf_counter()
    workers = max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
    length = max(1, -(-len(task.jobs) // (workers * _TASKS)))
    length = -(-length * task.how.batch // task.source.depth) * task.source.depth
    length = max(1, length // task.how.batch)
    parts = [task.jobs[at : at + length] for at in range(0, len(task.jobs), length)]
    sizes = {task.source.size(index) for index in range(task.source.slices)}
    size = max(sizes, key=lambda one: one[0] * one[1])
    common = (
        load,
        str(task.record["wanted"]["network"]),
        source,
        size,
        task.place,
        task.layout,
        task.how,
        config.threads or 1,
    )
    done = Done()
    futures = client.map(_do, [_Slab(*common, jobs=part) for part in parts], pure=False)
    which = dict(zip((future.key for future in futures), parts, strict=True))
    with task.bar() as advance:
        try:
            for future in as_completed(futures):
                done.add(future.result())
                jobs = which[future.key]
                task.commit(jobs)
                advance(sum(stop - start for start, stop in jobs))
        finally:
            client.cancel(futures)
    done.times.seconds = time.perf_counter() - begin
    return done


_engines: dict[tuple[Any, ...], Engine] = {}
"""Of this worker: the network of the last tasks."""


def _do(slab: _Slab) -> Done:
    """In a worker: do the jobs of a slab."""
    with contextlib.closing(volumes.open_source(slab.source)) as source:
        key = (slab.network, source.channels, slab.size, slab.how.backend, slab.threads)
        if key not in _engines:
            _engines.clear()
            _engines[key] = Engine(
                slab.load(), source.channels, slab.size, slab.how.backend, slab.threads
            )
        with contextlib.closing(volumes.create_sink(slab.place, slab.layout)) as sink:
            work = Work(_engines[key], source, sink, slab.how, slab.layout.dtype)
            return work.run(slab.jobs, lambda jobs: None, 1e9, lambda slices: None)
