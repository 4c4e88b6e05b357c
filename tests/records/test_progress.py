import io
import sys
from contextlib import suppress

import pytest
from rich.console import Console

from leanline.records import progress as module
from leanline.records.progress import bar, progress


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a terminal on standard error would be sent."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=120)
    monkeypatch.setattr(module, "stderr_console", lambda: console)
    return written


def three_steps() -> None:
    with bar("retrain", total=3) as report:
        for step in range(3):
            report.advance(loss=0.125 * step, part="one")
            report.advance(0)


def test_nobody_listens_by_default(capfd: pytest.CaptureFixture[str]) -> None:
    three_steps()
    with progress():
        three_steps()
    assert capfd.readouterr() == ("", "")


def test_bars_are_shown_when_asked_for(terminal: io.StringIO) -> None:
    with progress(disable=False):
        three_steps()
        with bar("outer"), bar("inner", total=1):
            pass
    assert "retrain" in terminal.getvalue()
    three_steps()


def test_status_and_count_are_shown(terminal: io.StringIO) -> None:
    with progress(disable=False), bar("retrain", total=3) as report:
        report.advance(2, loss=0.125, part="one")
    assert "2/3" in terminal.getvalue()
    assert "loss 0.125  part one" in terminal.getvalue()


@pytest.mark.parametrize(("switch", "shown"), [("0", False), ("1", True)])
def test_the_switch_and_the_terminal(
    terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch, switch: str, shown: bool
) -> None:
    monkeypatch.setenv("LEANLINE_PROGRESS", switch)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress():
        three_steps()
    assert ("retrain" in terminal.getvalue()) == shown


def test_inner_silence_and_failures_end_with_their_context(terminal: io.StringIO) -> None:
    with progress(disable=False):
        with progress(disable=True), bar("hidden"):
            pass
        with suppress(ZeroDivisionError), bar("shown"):
            raise ZeroDivisionError
        three_steps()
    assert "hidden" not in terminal.getvalue()
    assert "retrain" in terminal.getvalue()
