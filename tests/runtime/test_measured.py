"""Times on disk: kept, merged, and done without where they cannot be."""

import json
import multiprocessing
from pathlib import Path

import pytest

from leanline.runtime.measured import Measured


def fail() -> float:
    raise AssertionError("measured again")


def test_what_was_measured_is_known_next_time(tmp_path: Path) -> None:
    first = Measured(tmp_path / "new" / "folder")
    assert first.get(("conv", (3, 3)), lambda: 0.25) == 0.25
    assert first.get(("conv", (3, 3)), fail) == 0.25
    assert not first.path.exists()
    first.save()
    again = Measured(tmp_path / "new" / "folder")
    assert again.path == first.path
    assert again.get(("conv", (3, 3)), fail) == 0.25
    assert again.get(("conv", (1, 1)), lambda: 0.5) == 0.5


def test_times_of_another_process_stay(tmp_path: Path) -> None:
    one, two = Measured(tmp_path), Measured(tmp_path)
    one.get("a", lambda: 1.0)
    two.get("b", lambda: 2.0)
    one.save()
    two.save()
    assert json.loads(one.path.read_text()) == {"a": 1.0, "b": 2.0}
    stamp = one.path.stat().st_mtime_ns
    one.save()  # nothing new
    assert one.path.stat().st_mtime_ns == stamp


def write(folder: Path, number: int) -> None:
    for i in range(10):
        times = Measured(folder)
        times.get((number, i), lambda: 1.0)
        times.save()


def test_processes_that_write_at_once_leave_a_whole_file(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write, args=(tmp_path, n)) for n in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    (file,) = tmp_path.iterdir()  # no temporary file is left
    held = json.loads(file.read_text())
    assert held and set(held.values()) == {1.0}


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[1]", b"null", b'{"a": null}', b'{"a": "x"}', b"\xff\xfe\x00", b"3"]
)
def test_a_damaged_file_is_as_none(tmp_path: Path, damage: bytes) -> None:
    path = Measured(tmp_path).path
    path.write_bytes(damage)
    times = Measured(tmp_path)
    assert times.get("a", lambda: 4.0) == 4.0
    times.save()
    assert Measured(tmp_path).get("a", fail) == 4.0


def test_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    times = Measured(tmp_path / "file" / "folder")
    assert times.get("a", lambda: 4.0) == 4.0
    times.save()
    assert times.get("a", fail) == 4.0

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("leanline.runtime.measured.user_cache", homeless)
    times = Measured()
    times.get("a", lambda: 4.0)
    times.save()
