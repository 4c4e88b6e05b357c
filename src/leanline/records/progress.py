"""Progress bars that are off unless somebody asks for them.

Library code reports its steps to whatever is listening, which by default is nobody:

```python
with bar("retrain", total=steps) as report:
    for batch in batches:
        ...
        report.advance(loss=loss)
```

The command line (or a user) listens with ``with progress(): ...``. Bars may be nested.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Protocol, runtime_checkable

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

SWITCH = "LEANLINE_PROGRESS"
"""Environment variable: ``0`` switches progress bars off, whatever the terminal."""


@runtime_checkable
class Bar(Protocol):
    """One line of progress."""

    def advance(self, steps: float = 1, **status: float | str) -> None:
        """Report that steps are done.

        Args:
            steps: How many since the last call.
            **status: What to show beside the bar, such as ``loss=0.31``.
        """
        ...


@runtime_checkable
class Progress(Protocol):
    """Who listens to progress."""

    def bar(self, description: str, total: float | None) -> AbstractContextManager[Bar]:
        """Show a bar until the context ends.

        Args:
            description: What is going on, in a word or two.
            total: The number of steps, or None if it is not known.
        """
        ...


def bar(description: str, total: float | None = None) -> AbstractContextManager[Bar]:
    """Report progress to whoever listens at the moment; see `Progress.bar`."""
    listener = _listener.get() or _Silent()
    return listener.bar(description, total)


@contextmanager
def progress(disable: bool | None = None) -> Iterator[Progress]:
    """Show the bars of everything that runs inside the context, on standard error.

    Args:
        disable: True shows nothing and False always shows. None shows where standard error is a
            terminal and the environment variable ``LEANLINE_PROGRESS`` is not ``0``.
    """
    if disable is None:
        disable = os.environ.get(SWITCH) == "0" or not sys.stderr.isatty()
    if disable:
        with _listening(_Silent()) as silent:
            yield silent
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}"),
    )
    bars = RichProgress(*columns, console=stderr_console())
    with bars, _listening(_Shown(bars)) as listener:
        yield listener


@cache
def stderr_console() -> Console:
    """The one console that bars and logs share, so that a log line does not tear a bar."""
    return Console(stderr=True)


@contextmanager
def _listening(listener: Progress) -> Iterator[Progress]:
    token = _listener.set(listener)
    try:
        yield listener
    finally:
        _listener.reset(token)


class _Silent:
    """Nobody listens: a progress, and a bar, that does nothing."""

    @contextmanager
    def bar(self, description: str, total: float | None) -> Iterator[Bar]:
        yield self

    def advance(self, steps: float = 1, **status: float | str) -> None:
        return


class _Shown:
    """Bars on a terminal."""

    def __init__(self, shown: RichProgress) -> None:
        self._shown = shown

    @contextmanager
    def bar(self, description: str, total: float | None) -> Iterator[Bar]:
        task = self._shown.add_task(description, total=total, status="")
        try:
            yield _ShownBar(self._shown, task)
        finally:
            self._shown.refresh()  # the last step may be newer than the last picture
            self._shown.remove_task(task)


class _ShownBar:
    def __init__(self, shown: RichProgress, task: TaskID) -> None:
        self._shown, self._task = shown, task

    def advance(self, steps: float = 1, **status: float | str) -> None:
        words = (
            f"{name} {value if isinstance(value, str) else format(value, '.4g')}"
            for name, value in status.items()
        )
        if status:
            self._shown.update(self._task, advance=steps, status="  ".join(words))
        else:
            self._shown.update(self._task, advance=steps)


_listener: ContextVar[Progress | None] = ContextVar("leanline_progress", default=None)
