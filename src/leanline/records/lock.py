"""One process in a folder at a time."""

import errno
import fcntl
import os
import weakref
from pathlib import Path

from leanline.errors import FolderInUseError, RunError


class FolderLock:
    """A lock on a folder that the system gives back when the process dies, however it dies.

    The lock is `flock` on a file in the folder; the file stays and holds the process id of the
    last owner, for the message. Child processes that are forked do not inherit it.
    """

    def __init__(self, path: Path) -> None:
        """Take the lock.

        Args:
            path: The lock file; made if missing.

        Raises:
            FolderInUseError: Another process, or another lock of this one, holds it.
            RunError: The file system has no locks.
        """
        self.path = path
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise RunError(f"cannot open {path}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise FolderInUseError(
                    f"{path.parent} is in use by process {owner}; wait for it to end, or choose "
                    "another folder"
                ) from None
            raise RunError(f"cannot lock {path}: {error.strerror}") from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        self._descriptor = descriptor
        _held.add(self)

    def release(self) -> None:
        """Give the lock back; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            _held.discard(self)

    def __del__(self) -> None:
        # a constructor that failed has no descriptor
        if getattr(self, "_descriptor", -1) >= 0:
            self.release()


_held: "weakref.WeakSet[FolderLock]" = weakref.WeakSet()


def _forget_in_child() -> None:
    # A fork shares the lock until every copy of the descriptor is closed: a data-loading worker
    # that outlives its killed parent by a second would keep the folder from being resumed.
    for lock in list(_held):
        lock.release()


os.register_at_fork(after_in_child=_forget_in_child)
