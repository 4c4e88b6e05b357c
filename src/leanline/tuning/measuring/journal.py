"""The record of a tuning run: a line for each measured configuration, on the disk at once."""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from leanline.errors import ConfigError, RunError
from leanline.records.atomic import TEMPORARY, remove_temporaries, write_text
from leanline.records.configuration import canonical, describe_difference, plain
from leanline.tuning.measuring.outcome import Outcome
from leanline.tuning.space import SearchSpace
from leanline.types import PathLike

KERNEL, LINES, LOCK = "kernel.json", "measured.jsonl", ".lock"
"""Names in the folder."""

SCHEMA = 1
"""Version of the layout; a folder with another one is refused."""


class Journal:
    """What was measured of a kernel on a device, in a folder that several processes may write to.

    A line is appended under a lock and flushed to the disk. A process that is killed while it
    writes leaves half a line at the end, which is not read, and is cut off when the next line is
    written.
    Where a configuration is there twice, the first line counts, for all processes.

    Attributes:
        path: The folder.
        outcomes: What was measured, by code.
    """

    def __init__(self, path: PathLike, identity: Mapping[str, Any], space: SearchSpace) -> None:
        """Open a folder, or make it.

        Args:
            path: The folder; it and its parents are made if missing.
            identity: What the measurements are of: kernel, sizes, device, versions. Nothing else
                can be added to the folder later.
            space: The configurations.

        Raises:
            RunError: The folder holds measurements of something else, or other things, is damaged,
                or cannot be written.
        """
        self.path, self._space = Path(path).absolute(), space
        self.outcomes: dict[int, Outcome] = {}
        self._in_turn: dict[frozenset[int], dict[int, Outcome]] = {}
        self._read_to = 0
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file, where a folder is wanted")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot make the folder {self.path}: {error.strerror}") from error
        wanted = {"schema": SCHEMA, **plain(identity)}
        self._refuse_foreign()
        with self.locked():
            file = self.path / KERNEL
            if not file.exists():
                write_text(file, canonical(wanted, indent=2) + "\n")
            recorded = _header(file)
            differences = describe_difference(recorded, wanted)
        if differences:
            told = differences
            if "kernel" in recorded and recorded["kernel"] != wanted.get("kernel"):
                told = [each for each in differences if each.startswith("kernel ")]
            raise RunError(
                f"{self.path} holds measurements of something else: {'; '.join(told)}. "
                "Choose another folder"
            )
        self.refresh()

    def refresh(self) -> None:
        """Read what was added since the last time, by whichever process.

        Raises:
            RunError: A line is damaged.
        """
        file = self.path / LINES
        if not file.exists():
            return
        with file.open("rb") as lines:
            lines.seek(self._read_to)
            content = lines.read()
        whole = content[: content.rfind(b"\n") + 1]
        for line in whole.splitlines():
            try:
                self._take(json.loads(line))
            except (ValueError, KeyError, TypeError, ConfigError) as error:
                raise RunError(f"{file} is damaged: {error} in {line[:80]!r}") from None
        self._read_to += len(whole)

    def add(self, code: int, outcome: Outcome) -> Outcome:
        """Append a measured configuration.

        Returns:
            What the folder now says of it: another process may have been faster.

        Raises:
            RunError: The line cannot be written.
        """
        self._append(self._row(code, outcome))
        return self.outcomes[code]

    def add_in_turn(self, outcomes: Mapping[int, Outcome]) -> None:
        """Append configurations that were measured in turn, as one line; raises RunError."""
        self._append({"in_turn": [self._row(code, each) for code, each in outcomes.items()]})

    def in_turn(self, codes: frozenset[int]) -> dict[int, Outcome] | None:
        """What came of measuring these configurations in turn; None if nobody did."""
        return self._in_turn.get(codes)

    def _row(self, code: int, outcome: Outcome) -> dict[str, Any]:
        row: dict[str, Any] = {"configuration": self._space.decode(code)}
        if outcome.failure:
            return {**row, "failure": outcome.failure, "detail": outcome.detail}
        return {**row, "ms": list(outcome.samples)}

    def _take(self, row: Mapping[str, Any]) -> None:
        if "in_turn" in row:
            found = dict(self._parsed(each) for each in row["in_turn"])
            self._in_turn.setdefault(frozenset(found), found)
            return
        code, outcome = self._parsed(row)
        self.outcomes.setdefault(code, outcome)

    def _parsed(self, row: Mapping[str, Any]) -> tuple[int, Outcome]:
        code = self._space.encode(row["configuration"])
        if "failure" in row:
            return code, Outcome(failure=str(row["failure"]), detail=str(row["detail"]))
        samples = tuple(float(each) for each in row["ms"])
        if not samples or not all(0 < each < math.inf for each in samples):
            raise ValueError("times are missing or not above 0")
        return code, Outcome(samples)

    def _append(self, row: Mapping[str, Any]) -> None:
        line = json.dumps(row).encode() + b"\n"
        try:
            with self.locked(), (self.path / LINES).open("a+b") as file:
                _cut_torn_line(file.fileno())
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RunError(f"cannot write {self.path / LINES}: {error.strerror}") from error
        self.refresh()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Wait until no other process writes to the folder, and keep others from it."""
        try:
            descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise RunError(f"cannot open {self.path / LOCK}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            remove_temporaries(self.path)
            yield
        finally:
            os.close(descriptor)

    def _refuse_foreign(self) -> None:
        names = sorted(each.name for each in self.path.iterdir())
        foreign = [name for name in names if name != LOCK and not name.startswith(TEMPORARY)]
        if foreign and KERNEL not in names:
            raise RunError(
                f"{self.path} is not empty and holds no measurements (it has {foreign[0]}); choose "
                "another folder"
            )


def _cut_torn_line(descriptor: int) -> None:
    size = os.fstat(descriptor).st_size
    kept = size
    while kept:
        begin = max(0, kept - 4096)
        block = os.pread(descriptor, kept - begin, begin)
        at = block.rfind(b"\n")
        if at >= 0:
            kept = begin + at + 1
            break
        kept = begin
    if kept < size:
        os.ftruncate(descriptor, kept)


def _header(file: Path) -> dict[str, Any]:
    try:
        header = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise RunError(f"{file} is damaged: {error}") from error
    if not isinstance(header, dict) or header.get("schema") != SCHEMA:
        raise RunError(f"{file} is damaged, or of another version of leanline")
    return header


def describe_space(space: SearchSpace) -> dict[str, Any]:
    """What tells a space from others, for an identity."""
    constraints = [
        each if isinstance(each, str) else getattr(each, "__qualname__", repr(type(each)))
        for each in space.constraints
    ]
    return {
        "parameters": {
            name: list(values) for name, values in zip(space.names, space.values, strict=True)
        },
        "constraints": constraints,
        "constants": dict(space.constants),
    }
