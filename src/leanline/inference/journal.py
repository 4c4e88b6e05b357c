"""What of an output is done, in a file beside it that survives a kill."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leanline.errors import RunError
from leanline.records.atomic import write_text
from leanline.records.configuration import canonical
from leanline.records.lock import FolderLock

SUFFIX = ".partial.jsonl"


class Journal:
    """One line that says what is made and how, then one for each range of slices that is done.

    A range comes with a stamp of its input, so that slices that were changed are done again.

    Only one process may hold it.

    Args:
        out: where the output is, or what lies in the same folder; the journal is called as it, with
            `SUFFIX`.

    Raises:
        RunError: another process is writing the output, or the journal cannot be read.
    """

    def __init__(self, out: Path) -> None:
        self.path = out.with_name(out.name + SUFFIX)
        if not self.path.parent.is_dir():
            raise RunError(f"cannot write {out}: there is no folder {self.path.parent}")
        self._lock_file = out.with_name(out.name + ".partial.lock")
        self._lock = FolderLock(self._lock_file)
        try:
            self.header, self.done = _read(self.path)
        except RunError:
            self.release()
            raise

    def begin(self, header: Mapping[str, Any]) -> None:
        """Begin anew, with what is made and how."""
        self.header, self.done = dict(header), {}
        write_text(self.path, canonical(self.header) + "\n")

    def add(self, ranges: Mapping[tuple[int, int], str]) -> None:
        """Note that slices are done, each range with its stamp, and bring that to the disk.

        Raises:
            RunError: the system refused.
        """
        if not ranges:
            return
        lines = (json.dumps([*job, stamp]) + "\n" for job, stamp in ranges.items())
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write("".join(lines))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RunError(f"cannot write {self.path}: {error.strerror}") from error
        self.done.update(ranges)

    def release(self) -> None:
        """Let other processes go on; a second call does nothing."""
        if not self.path.exists():  # nothing was begun, or all is done
            self._lock_file.unlink(missing_ok=True)
        self._lock.release()

    def remove(self) -> None:
        """Remove the journal of a finished output."""
        self.path.unlink(missing_ok=True)
        self.release()


def _read(path: Path) -> tuple[dict[str, Any] | None, dict[tuple[int, int], str]]:
    """Header and ranges; a last line that was cut off by a kill is none, and is taken away."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None, {}
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from error
    whole, newline, rest = content.rpartition(b"\n")
    if rest:
        write_text(path, (whole + newline).decode("utf-8", "replace"))
    try:
        first, *lines = (whole + newline).decode("utf-8").splitlines()
        header = json.loads(first)
        ranges = {
            (int(start), int(stop)): str(stamp) for start, stop, stamp in map(json.loads, lines)
        }
        if not isinstance(header, dict):
            raise ValueError("its first line is no object")
    except (ValueError, TypeError) as error:
        raise RunError(
            f"{path} is damaged: {error}; remove it and what lies beside it to begin anew"
        ) from error
    return header, ranges
