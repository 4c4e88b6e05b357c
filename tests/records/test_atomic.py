import errno
import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from leanline.errors import RunError
from leanline.records.atomic import TEMPORARY, atomic_write, remove_temporaries, write_text


@pytest.fixture
def small_files() -> Iterator[int]:
    """Let the system refuse files above some size, as a full disk would."""
    limit = 100_000
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_writes_and_replaces(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "one")
    write_text(tmp_path / "a.txt", "two \N{GREEK SMALL LETTER GAMMA}")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "two \N{GREEK SMALL LETTER GAMMA}"
    assert names(tmp_path) == ["a.txt"]


def test_temporary_is_beside_the_file_with_its_suffix(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "figure.png") as temporary:
        assert temporary.parent == tmp_path.resolve()
        assert temporary.suffix == ".png"
        assert not (tmp_path / "figure.png").exists()


def test_a_body_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(ZeroDivisionError), atomic_write(tmp_path / "a.txt") as temporary:
        temporary.write_text("half of the n")
        raise ZeroDivisionError
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / "a.txt"):
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_a_file_too_large_for_the_disk(tmp_path: Path, small_files: int) -> None:
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(RunError, match=r"cannot write .*a\.txt: .* MB are free"):
        write_text(tmp_path / "a.txt", "x" * (small_files + 1))
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left on device"):
        write_text(tmp_path / "a.txt", "new")
    assert names(tmp_path) == []


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"there is no folder .*nowhere"):
        write_text(tmp_path / "nowhere" / "a.txt", "new")


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    write_text(tmp_path / "real.txt", "old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    write_text(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    write_text(tmp_path / "atomic.txt", "")
    (tmp_path / "plain.txt").write_text("")
    modes = [
        stat.S_IMODE((tmp_path / f"{name}.txt").stat().st_mode) for name in ("atomic", "plain")
    ]
    assert modes[0] == modes[1]


def test_leftovers_are_removed(tmp_path: Path) -> None:
    (tmp_path / f"{TEMPORARY}0123-a.txt").write_text("half")
    (tmp_path / "a.txt").write_text("whole")
    remove_temporaries(tmp_path)
    assert names(tmp_path) == ["a.txt"]
