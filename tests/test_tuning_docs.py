"""What the page about choosing an optimiser says, run as it is written."""

import re
import shlex
from pathlib import Path

from typer.testing import CliRunner

from leanline.cli.app import app

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "choose-an-optimiser.md"


def test_the_page_s_code_and_commands_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```(python|console)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert [kind for kind, _ in blocks] == ["python", "console", "console", "python"]
    for kind, text in blocks:
        if kind == "python":
            exec(compile(text, PAGE.name, "exec"), {})
            continue
        for line in text.splitlines():
            words = shlex.split(line.removeprefix("$ leanline "))
            done = CliRunner().invoke(app, words, catch_exceptions=False)
            assert done.exit_code == 0, done.stderr
    assert (tmp_path / "runs/transpose/report.html").is_file()
    assert (tmp_path / "transpose.json.gz").is_file()
