"""Who does the work: processes on this machine, a Dask cluster, or jobs on Slurm."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
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

    When the context ends, what the client still waits for is given up, and a cluster that was
    started is ended, undisturbed by Ctrl-C: Dask's own shutdown does not bear it.

    Raises:
        RunError: Dask is not installed, or its scheduler does not answer.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise RunError("Dask is not installed; pip install leanline[cluster]") from error
    with contextlib.ExitStack() as stack:
        ending = stack.enter_context(contextlib.ExitStack())
        if cluster.scheduler == SLURM:
            jobs = stack.enter_context(_slurm())
            jobs.scale(jobs=cluster.workers or 1)
            client = Client(jobs)
        elif cluster.scheduler is not None:
            try:
                client = Client(cluster.scheduler, timeout=_PATIENCE)
            except OSError as error:
                raise RunError(
                    f"no Dask scheduler answers at {cluster.scheduler}: {error}"
                ) from error
        else:
            local = LocalCluster(
                n_workers=cluster.workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.ERROR,  # that a worker was killed is no news to who killed it
            )
            client = Client(stack.enter_context(local))
        stack.enter_context(client)
        try:
            yield client
        finally:
            ending.enter_context(_ignored_interrupts())


@contextlib.contextmanager
def _ignored_interrupts() -> Iterator[None]:
    """Ignore Ctrl-C until the context ends; outside the main thread it does not come anyway."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


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
