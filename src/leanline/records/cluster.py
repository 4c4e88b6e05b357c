"""Who does the work: processes on this machine, a Dask cluster, or jobs on Slurm."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
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
    if importlib.util.find_spec("distributed") is None:
        raise RunError("Dask is not installed; pip install leanline[cluster]")
    with contextlib.ExitStack() as stack:
        ending = stack.enter_context(contextlib.ExitStack())
        with _held_interrupts():
            client = _client(cluster, stack)
            stack.callback(lambda: ending.enter_context(_ignored_interrupts()))
        yield client


def _client(cluster: Cluster, stack: contextlib.ExitStack) -> Any:
    """A client that closes with the stack, as does a cluster that is started for it."""
    from distributed import Client, LocalCluster

    if cluster.scheduler == SLURM:
        jobs = stack.enter_context(_slurm())
        jobs.scale(jobs=cluster.workers or 1)
        return stack.enter_context(Client(jobs))
    if cluster.scheduler is not None:
        try:
            return stack.enter_context(Client(cluster.scheduler, timeout=_PATIENCE))
        except OSError as error:
            raise RunError(f"no Dask scheduler answers at {cluster.scheduler}: {error}") from error
    local = LocalCluster(
        n_workers=cluster.workers,
        threads_per_worker=1,
        processes=True,
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,  # what fails is told by who waits for it
    )
    return stack.enter_context(Client(stack.enter_context(local)))


@contextlib.contextmanager
def _held_interrupts() -> Iterator[None]:
    """Let Ctrl-C wait until the context ends; what is started in it never hears of Ctrl-C.

    A terminal sends Ctrl-C to the workers too, and it is not for them to answer. They inherit what
    is held from the thread that starts them, and that thread from the one that starts Dask.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # as it starts, it lets in what is held
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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
        import dask
        from dask_jobqueue.slurm import SLURMCluster
    except ImportError as error:
        raise RunError("dask-jobqueue is not installed; pip install leanline[cluster]") from error
    for name in ("cores", "memory"):
        if dask.config.get(f"jobqueue.slurm.{name}", None) is None:
            raise RunError(
                f"Slurm: the {name} of a job are not known; set jobqueue.slurm.{name} in Dask's "
                f"configuration, or DASK_JOBQUEUE__SLURM__{name.upper()} in the environment"
            )
    return SLURMCluster()
