"""Who does the work: processes on this machine, a Dask cluster, or jobs on Slurm."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from leanline.errors import ConfigError, RunError

SLURM = "slurm"
_PATIENCE = 10  # seconds


@dataclass(frozen=True)
class Cluster:
    """Who does the work.

    Attributes:
        workers: processes on this machine; on Slurm, jobs.
        scheduler: the address of a Dask scheduler whose workers see the same files, instead; or
            "slurm", for jobs as the ``jobqueue.slurm`` part of Dask's own configuration says.
    """

    workers: int | None = None
    scheduler: str | None = None

    def __post_init__(self) -> None:
        wrong = (self.workers is None) == (self.scheduler is None)
        if wrong and self.scheduler != SLURM:
            raise ConfigError(
                f"Cluster(workers={self.workers}, scheduler={self.scheduler!r}): give one of them"
            )
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"Cluster(workers={self.workers}): must be at least 1")


@contextlib.contextmanager
def connect(cluster: Cluster) -> Iterator[Any]:
    """A Dask client of a cluster, which is started for it unless it runs already.

    Raises:
        RunError: Dask is not installed, or its scheduler does not answer.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise RunError("Dask is not installed; pip install leanline[cluster]") from error
    with contextlib.ExitStack() as stack:
        if cluster.scheduler == SLURM:
            jobs = stack.enter_context(_slurm())
            jobs.scale(jobs=cluster.workers or 1)
            yield stack.enter_context(Client(jobs))
            return
        if cluster.scheduler is not None:
            try:
                yield stack.enter_context(Client(cluster.scheduler, timeout=_PATIENCE))
            except OSError as error:
                raise RunError(
                    f"no Dask scheduler answers at {cluster.scheduler}: {error}"
                ) from error
            return
        local = LocalCluster(
            n_workers=cluster.workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs=logging.ERROR,  # that a worker was killed is no news to who killed it
        )
        stack.enter_context(local)
        yield stack.enter_context(Client(local))


def _slurm() -> Any:
    try:
        from dask_jobqueue.slurm import SLURMCluster
    except ImportError as error:
        raise RunError("dask-jobqueue is not installed; pip install leanline[cluster]") from error
    try:
        return SLURMCluster()
    except ValueError as error:  # cores and memory of a job are not set
        raise RunError(
            f"Slurm: {error}. Set them in the jobqueue.slurm part of Dask's configuration"
        ) from error
