"""What surrounds every command: progress, logs, threads, errors and exit codes, the result."""

import contextlib
import errno
import json
import logging
import math
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from leanline.cli.interrupts import insistent_interrupts
from leanline.errors import ConfigError, LeanlineError
from leanline.records.configuration import plain

log = logging.getLogger(__name__)

FAILURE, USAGE, INTERRUPTED = 1, 2, 130
"""Exit codes."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk, a quota or a file that is full."""


@dataclass
class Session:
    """A command that is running.

    Attributes:
        as_json: whether the result is for machines.
        stdout: the text stream that the result goes to, and nothing else.
        resumable: the folder in which the same command goes on after Ctrl-C.
    """

    as_json: bool
    stdout: Any
    resumable: Path | None = None

    def result(self, values: Mapping[str, Any], text: str) -> None:
        """Print what came out: `values` as one JSON object, or `text` for people."""
        if self.as_json:
            text = json.dumps(_finite(plain(values)), ensure_ascii=False, allow_nan=False)
        print(text, file=self.stdout, flush=True)


@contextlib.contextmanager
def session(
    as_json: bool, progress: bool = True, debug: bool = False, threads: int | None = None
) -> Iterator[Session]:
    """Run the body of a command.

    Errors that are meant for the user become one line on standard error and an exit code: 2 for
    bad usage, 1 for failure, 130 for Ctrl-C.

    Args:
        as_json: print the result as JSON; whatever else is printed goes to standard error.
        progress: show bars where standard error is a terminal.
        debug: let errors through, with their traceback, and show debug messages.
        threads: threads of PyTorch, until the body ends.
    """
    from leanline.records.logs import logs
    from leanline.records.progress import progress as show_progress

    running = Session(as_json, sys.stdout)
    raising, logging.raiseExceptions = logging.raiseExceptions, False  # a full disk is told once
    level = logging.DEBUG if debug else logging.WARNING
    try:
        with contextlib.ExitStack() as stack:
            if as_json:
                stack.enter_context(contextlib.redirect_stdout(sys.stderr))
            stack.enter_context(insistent_interrupts())
            stack.enter_context(logs(level))
            stack.enter_context(show_progress(None if progress else True))
            stack.enter_context(_threads(threads))
            yield running
    except KeyboardInterrupt:
        if debug:
            raise
        _say(_interrupted(running.resumable))
        raise typer.Exit(INTERRUPTED) from None
    except LeanlineError as error:
        if debug:
            raise
        _say(f"error: {error}")
        raise typer.Exit(USAGE if isinstance(error, ConfigError) else FAILURE) from None
    except OSError as error:
        if debug:
            raise
        place = f"{error.filename}: " if error.filename else ""
        full = "cannot write: " if error.errno in _FULL else ""
        _say(f"error: {full}{place}{error.strerror or error}")
        raise typer.Exit(FAILURE) from None
    finally:
        logging.raiseExceptions = raising


@contextlib.contextmanager
def run_log(running: Session, folder: Path, resume: bool) -> Iterator[None]:
    """Log into a run folder, which is made if missing, and say after Ctrl-C that it goes on.

    A folder that cannot be a run folder is left as it is, for the run to refuse.
    """
    from leanline.records.logs import logs
    from leanline.records.run import CONFIG, LOG

    usable = not folder.exists() or (
        folder.is_dir() and ((folder / CONFIG).exists() or not any(folder.iterdir()))
    )
    if not usable:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    if resume:
        running.resumable = folder
    level = logging.getLogger("leanline").level
    with logs(level, folder / LOG):
        log.info("command: %s", command_line())
        try:
            yield
        except LeanlineError as error:
            log.info("stopped: %s", error)
            raise


def command_line() -> str:
    """How this process was called, for the record."""
    return shlex.join(["leanline", *sys.argv[1:]])


@contextlib.contextmanager
def _threads(count: int | None) -> Iterator[None]:
    if count is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _interrupted(folder: Path | None) -> str:
    if folder is None:
        return "interrupted"
    return f"interrupted; the same command goes on from the last checkpoint in {folder}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity: null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
