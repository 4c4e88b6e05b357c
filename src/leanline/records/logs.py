"""Logging for programs that use the library; the library itself only calls `logging.getLogger`."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.logging import RichHandler

from leanline.errors import RunError
from leanline.records.progress import stderr_console

FILE_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"

_SOURCES = ("leanline", "py.warnings")


@contextmanager
def logs(level: int = logging.INFO, file: Path | None = None) -> Iterator[None]:
    """Send leanline's log messages, and Python's warnings, to the terminal and to a file.

    What was set before comes back when the context ends. Contexts nest: an inner one may add the
    log file of a run folder while the outer one writes to the terminal only; then the terminal is
    written to once.

    Args:
        level: The least important messages that the terminal shows. The file gets all from
            ``logging.INFO`` on, or from `level` on where that is lower.
        file: A file to append to; its folder must exist.

    Raises:
        RunError: The file cannot be written.
    """
    handlers: list[logging.Handler] = []
    loggers = [logging.getLogger(name) for name in _SOURCES]
    before = [(logger, logger.level, logger.propagate) for logger in loggers]
    if not any(isinstance(handler, RichHandler) for handler in loggers[0].handlers):
        terminal = RichHandler(level, console=stderr_console(), show_path=False, markup=False)
        handlers.append(terminal)
    if file is not None:
        handlers.append(_file_handler(file, min(level, logging.INFO)))
    for logger in loggers:
        logger.setLevel(min(level, logging.INFO))
        logger.propagate = False
        for handler in handlers:
            logger.addHandler(handler)
    # Python's capture keeps no count, so only the context that brought the terminal ends it.
    outermost = any(isinstance(handler, RichHandler) for handler in handlers)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        if outermost:
            logging.captureWarnings(False)
        for logger, old_level, old_propagate in before:
            for handler in handlers:
                logger.removeHandler(handler)
            logger.setLevel(old_level)
            logger.propagate = old_propagate
        for handler in handlers:
            handler.close()


def _file_handler(file: Path, level: int) -> logging.Handler:
    try:
        handler = logging.FileHandler(file, encoding="utf-8")
    except OSError as error:
        raise RunError(f"cannot write {file}: {error.strerror}") from error
    handler.setLevel(level)
    handler.setFormatter(logging.Formatter(FILE_FORMAT))
    return handler
