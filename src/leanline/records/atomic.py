"""Files that are either the old one or the new one, never half of one."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from leanline.errors import RunError

TEMPORARY = ".part-"
"""What the name of every temporary file starts with; a killed process may leave one behind."""


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a file completely or not at all.

    The body writes to the temporary path that it is given, in the folder of the file and with the
    same suffix. When the body ends, the temporary file is flushed to the disk and renamed, and the
    folder is flushed. When anything fails, the temporary file is removed and the old file stays.

    ```python
    with atomic_write("figure.png") as temporary:
        plot.savefig(temporary)
    ```

    Args:
        path: The file to write. Its folder must exist; a symbolic link is followed.

    Yields:
        The temporary path, of an empty file.

    Raises:
        RunError: The system refused (full disk, no permission, no such folder); the message names
            the file and the space that is free.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f"{TEMPORARY}{secrets.token_hex(8)}-{target.name}")
    try:
        try:
            # mode 0o666 less the user's umask, as for any new file; mkstemp would give 0o600
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            yield temporary
            _flush(temporary)
            temporary.replace(target)
            _flush(target.parent)
        except OSError as error:
            raise RunError(_explain(target, error)) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write bytes to a file, completely or not at all; raises as `atomic_write`."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | os.PathLike[str], content: str) -> None:
    """Write text to a file as UTF-8, completely or not at all; raises as `atomic_write`."""
    write_bytes(path, content.encode("utf-8"))


def remove_temporaries(folder: Path) -> None:
    """Remove what `atomic_write` left in a folder when its process was killed.

    Only for a folder that no other process writes to.
    """
    for leftover in folder.glob(f"{TEMPORARY}*"):
        leftover.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Bring a file, or the entries of a folder, from the system's memory to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _explain(target: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    if not target.parent.is_dir():
        return f"cannot write {target}: there is no folder {target.parent}"
    try:
        free = f"{shutil.disk_usage(target.parent).free / 1e6:,.1f} MB are free there"
    except OSError:
        free = "the free space there is not known"
    return f"cannot write {target}: {reason} ({free})"
