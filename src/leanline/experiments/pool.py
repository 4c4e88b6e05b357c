"""Tasks in this process or on Dask workers, which may die at any moment."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from leanline.errors import LeanlineError, RunError
from leanline.records.cluster import Cluster, connect

log = logging.getLogger(__name__)

_LOOK = 2.0  # seconds between two looks at how far the workers are
_ATTEMPTS = 20
"""How often a task is begun again when its workers died (each attempt is several workers)."""


@dataclass(frozen=True)
class Task:
    """A piece of work whose results are in files, so that it can be begun again anywhere.

    Attributes:
        function: a function of a module.
        argument: what it is called with; it is sent to another process.
        after: key of a task that has to be done before.
    """

    function: Callable[[Any], None]
    argument: Any
    after: str | None = None


Failures = dict[str, LeanlineError]
"""What went wrong, by the key of the task."""


def run_tasks(
    tasks: Mapping[str, Task], cluster: Cluster | None, look: Callable[[int], None]
) -> Failures:
    """Do all tasks; one that fails does not keep the others from being done.

    Args:
        tasks: by key, each behind the one that it comes after.
        cluster: who does them; None is this process, one after another.
        look: called now and then with the number of tasks that are done or failed.

    Returns:
        The errors of the tasks that failed, and of those that were to come after them.

    Raises:
        RunError: the cluster cannot be had.
    """
    if not tasks:
        return {}
    return _here(tasks, look) if cluster is None else _on_workers(tasks, cluster, look)


def _here(tasks: Mapping[str, Task], look: Callable[[int], None]) -> Failures:
    failures: Failures = {}
    for count, (key, task) in enumerate(tasks.items(), start=1):
        if task.after in failures:
            failures[key] = RunError(f"not begun, since {task.after} failed")
            continue
        try:
            task.function(task.argument)
        except LeanlineError as error:
            failures[key] = error
        look(count)
    return failures


def _on_workers(
    tasks: Mapping[str, Task], cluster: Cluster, look: Callable[[int], None]
) -> Failures:
    from distributed import wait
    from distributed.scheduler import KilledWorker

    failures: Failures = {}
    waiting, left = dict(tasks), dict.fromkeys(tasks, _ATTEMPTS)
    with connect(cluster) as client:
        running: dict[Any, str] = {}
        done: set[str] = set()
        while waiting or running:
            for key in _ready(waiting, done, failures, tasks):
                task = waiting.pop(key)
                running[client.submit(task.function, task.argument, pure=False)] = key
            if not running:
                continue
            try:
                finished = wait(list(running), _LOOK, return_when="FIRST_COMPLETED").done
            except TimeoutError:
                finished = set()
            for future in finished:
                key = running.pop(future)
                error = future.exception() if future.status != "finished" else None
                if isinstance(error, KilledWorker) and left[key]:
                    left[key] -= 1
                    waiting[key] = tasks[key]
                elif isinstance(error, LeanlineError):
                    failures[key] = error
                elif error is not None:
                    raise error
                else:
                    done.add(key)
            look(len(done) + len(failures))
    return failures


def _ready(
    waiting: dict[str, Task], done: set[str], failures: Failures, tasks: Mapping[str, Task]
) -> list[str]:
    """The tasks that can begin; those that never will move to the failures."""
    ready = []
    for key, task in list(waiting.items()):
        if task.after in failures:
            failures[key] = RunError(f"not begun, since {task.after} failed")
            del waiting[key]
        elif task.after is None or task.after in done or task.after not in tasks:
            ready.append(key)
    return ready
