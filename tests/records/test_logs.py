import io
import logging
import warnings
from pathlib import Path

import pytest
from rich.console import Console

from leanline.errors import RunError
from leanline.records import logs as module
from leanline.records.logs import logs

logger = logging.getLogger("leanline.somewhere")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a terminal on standard error would be sent."""
    written = io.StringIO()
    monkeypatch.setattr(module, "stderr_console", lambda: Console(file=written, width=120))
    return written


def test_terminal_and_file(terminal: io.StringIO, tmp_path: Path) -> None:
    with logs(logging.WARNING, tmp_path / "log.txt"):
        logger.info("a detail [bold]")
        logger.warning("a problem")
    logger.warning("afterwards")
    text = (tmp_path / "log.txt").read_text()
    assert "INFO    leanline.somewhere: a detail [bold]" in text
    assert "a problem" in text
    assert "a problem" in terminal.getvalue()
    assert "a detail" not in terminal.getvalue()
    assert "afterwards" not in text + terminal.getvalue()


def test_nested_contexts_write_each_line_once(terminal: io.StringIO, tmp_path: Path) -> None:
    with logs():
        with logs(file=tmp_path / "log.txt"):
            logger.info("once")
        logger.info("outside the run")
    assert terminal.getvalue().count("once") == 1
    assert "outside the run" in terminal.getvalue()
    assert "outside the run" not in (tmp_path / "log.txt").read_text()


def test_warnings_are_logged(terminal: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with logs(), logs():
            warnings.warn("take care", UserWarning, stacklevel=1)
    assert "take care" in terminal.getvalue()


def test_everything_comes_back(terminal: io.StringIO) -> None:
    root = logging.getLogger("leanline")
    before = (root.level, root.propagate, list(root.handlers), warnings.showwarning)
    with pytest.raises(ZeroDivisionError), logs(logging.DEBUG):
        raise ZeroDivisionError
    assert (root.level, root.propagate, list(root.handlers), warnings.showwarning) == before


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    with (
        pytest.raises(RunError, match=r"cannot write .*log\.txt"),
        logs(file=tmp_path / "no" / "log.txt"),
    ):
        pass
    assert logging.getLogger("leanline").propagate
