"""JSON files, plain and gzipped, that may be cut, huge or something else."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leanline.errors import DataError
from leanline.records.atomic import write_bytes

LARGEST = 1 << 30
"""Bytes of JSON, unpacked, that are read at most."""

ZIPPED = b"\x1f\x8b"


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        DataError: The file is missing, cut, too large, or holds no JSON object.
    """
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == ZIPPED
        with gzip.open(path, "rb") if zipped else path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except EOFError:
        raise DataError(f"{path} is cut: its compressed content has no end") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} cannot be unpacked: {error}") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    if len(content) > LARGEST:
        raise DataError(f"{path} holds more than {LARGEST:,} bytes of JSON; a smaller one is read")
    try:
        value = json.loads(content)
    except json.JSONDecodeError as error:
        # text without an end goes on to the end of the file, and is named by where it begins
        unended = error.msg.startswith("Unterminated string")
        cut = unended or error.pos >= len(content.rstrip()) - 1
        what = "is cut: it ends" if cut else "is no JSON file: it goes wrong"
        raise DataError(f"{path} {what} in line {error.lineno} ({error.msg})") from None
    except (ValueError, RecursionError) as error:  # no Unicode; an integer of thousands of digits
        raise DataError(f"{path} is no JSON file: {error}") from None
    if not isinstance(value, dict):
        raise DataError(f"{path} holds a JSON {type(value).__name__}; an object is wanted")
    return value


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object, gzipped if the name ends in ``.gz``; raises RunError."""
    content = json.dumps(value, allow_nan=False).encode()
    write_bytes(path, gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def field(path: Path, value: Mapping[str, Any], name: str, kind: type | tuple[type, ...]) -> Any:
    """Return a field of an object, or raise DataError if it is missing or of another kind."""
    if name not in value:
        raise DataError(
            f"{path} has no {name!r}; it has {', '.join(map(repr, value)) or 'nothing'}"
        )
    if not isinstance(value[name], kind):
        raise DataError(f"{path}: {name!r} is a {type(value[name]).__name__}, which it cannot be")
    return value[name]


def check_version(path: Path, version: object, major: str) -> None:
    """Raise DataError unless a version is ``major.*``."""
    if not isinstance(version, str) or version.split(".")[0] != major:
        raise DataError(f"{path} is of version {version!r}; versions {major}.* can be read")
