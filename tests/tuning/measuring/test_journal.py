import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leanline.errors import RunError
from leanline.tuning.measuring.journal import KERNEL, LINES, Journal
from leanline.tuning.measuring.outcome import Outcome
from tuning_spaces import small_space

ABOUT = {"kernel": "k", "about": {"device": "d"}}
RAN, FAILED = (
    Outcome((1.5, 1.25, 0.1 + 0.2)),
    Outcome(failure="compile", detail='"no"\n \udcff'),  # as bytes that are no UTF-8
)


def opened(folder):
    return Journal(folder, ABOUT, small_space())


def test_what_is_added_is_there_again(tmp_path):
    journal = opened(tmp_path / "new" / "folder")
    journal.add(3, RAN)
    journal.add(7, FAILED)
    journal.add_in_turn({3: RAN, 7: FAILED})
    again = opened(journal.path)
    assert again.outcomes == {3: RAN, 7: FAILED} == journal.outcomes
    assert again.in_turn(frozenset({7, 3})) == {3: RAN, 7: FAILED}
    assert again.in_turn(frozenset({3})) is None


@settings(max_examples=20)
@given(cut=st.integers(1, 1000))
def test_half_a_line_at_the_end_is_no_line(cut, tmp_path_factory):
    journal = opened(tmp_path_factory.mktemp("tune") / "run")
    journal.add(3, RAN)
    file = journal.path / LINES
    first = file.stat().st_size
    journal.add(7, FAILED)
    os.truncate(file, max(first, file.stat().st_size - cut))
    again = opened(journal.path)
    assert again.outcomes == {3: RAN}
    again.add(9, RAN)
    assert opened(journal.path).outcomes == {3: RAN, 9: RAN}
    assert len(file.read_text().splitlines()) == 2


def test_the_first_line_of_a_configuration_counts_for_all(tmp_path):
    one, two = opened(tmp_path), opened(tmp_path)
    assert one.add(3, RAN) == RAN
    assert two.add(3, Outcome((9.0,))) == RAN
    assert one.outcomes == two.outcomes == {3: RAN}
    two.add(4, FAILED)
    one.refresh()
    assert one.outcomes == {3: RAN, 4: FAILED}


def test_measurements_of_something_else_are_refused(tmp_path):
    opened(tmp_path).add(3, RAN)
    other = {**ABOUT, "about": {"device": "another"}}
    with pytest.raises(RunError, match=r'about\.device was "d", now "another"'):
        Journal(tmp_path, other, small_space())


def test_other_folders_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match=r"holds no measurements \(it has notes.txt\)"):
        opened(tmp_path)
    with pytest.raises(RunError, match="is a file"):
        opened(tmp_path / "notes.txt")


@pytest.mark.parametrize(
    "line", ["{}", "[]", "nonsense", '{"configuration": {"a": 5}, "ms": [1]}', '{"in_turn": 3}']
)
def test_damaged_lines_are_told(line, tmp_path):
    journal = opened(tmp_path)
    journal.add(3, RAN)
    with (tmp_path / LINES).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(RunError, match="is damaged"):
        opened(tmp_path)


@pytest.mark.parametrize("ms", [[], [0.0], [1.0, -2.0], [1.0, float("nan")], [float("inf")]])
def test_times_that_cannot_be_are_told(ms, tmp_path):
    space = small_space()
    journal = opened(tmp_path)
    row = {"configuration": space.decode(0), "ms": ms}
    (tmp_path / LINES).write_text(json.dumps(row) + "\n")
    with pytest.raises(RunError, match="is damaged"):
        journal.refresh()


def test_a_damaged_header_is_told(tmp_path):
    opened(tmp_path)
    (tmp_path / KERNEL).write_text("{")
    with pytest.raises(RunError, match=r"kernel\.json is damaged"):
        opened(tmp_path)


def test_what_a_killed_process_left_is_removed(tmp_path):
    left = tmp_path / ".part-1234-kernel.json"
    left.write_text("{")
    opened(tmp_path).add(3, RAN)
    assert not left.exists()
