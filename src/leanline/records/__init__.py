"""Records of a run: atomic files, run folders, progress bars and logs."""

from leanline.records.atomic import atomic_write, write_bytes, write_text
from leanline.records.logs import logs
from leanline.records.progress import Bar, Progress, bar, progress
from leanline.records.run import RunFolder

__all__ = [
    "Bar",
    "Progress",
    "RunFolder",
    "atomic_write",
    "bar",
    "logs",
    "progress",
    "write_bytes",
    "write_text",
]
