"""A folder that holds a run: its configuration, one row a stage, checkpoints."""

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from leanline.errors import CheckpointError, ConfigError, RunError
from leanline.records import tensors as tensor_files
from leanline.records.atomic import TEMPORARY, remove_temporaries, write_text
from leanline.records.configuration import canonical, describe_difference, plain
from leanline.records.lock import FolderLock
from leanline.types import PathLike, Scalar
from leanline.version import __version__

logger = logging.getLogger(__name__)

SCHEMA = 1
"""Version of the layout of a run folder; a folder with a higher one is refused."""

CONFIG, STAGES, CHECKPOINTS, LOG, LOCK = (
    "config.json",
    "stages.jsonl",
    "checkpoints",
    "log.txt",
    ".lock",
)
"""Names in a run folder."""

CHECKSUM_COLUMN = "sha256."
"""A row's column ``sha256.NAME`` holds the checksum of checkpoint NAME, which the row commits."""


class RunFolder:
    """A run on the disk that can be killed at any moment and resumed.

    A stage counts once its row is written, and its row is written after its checkpoints:

    ```python
    with RunFolder.open("runs/x", {"keep": 0.05, "seed": 0}) as run:
        for stage in range(len(run.stages), 10):
            if stage:
                weights, _ = run.load_tensors(f"stage-{stage - 1}")
            ...
            run.save_tensors(f"stage-{stage}", weights)
            run.append_stage({"stage": stage, "accuracy": 0.93})
    ```

    A row commits the checkpoints that were saved since the row before it: it holds their
    checksums, and from then on they cannot be overwritten, and a file that differs is refused.
    The folder is locked while it is open, so that no second process writes to it.

    Attributes:
        path: The folder.
        config: The resolved configuration, as it is in ``config.json``.
    """

    def __init__(self, path: Path, header: Mapping[str, Any], lock: FolderLock | None) -> None:
        """Not for users: see `open` and `read`."""
        self.path = path
        self.config: dict[str, Any] = header["config"]
        self.versions: dict[str, str] = {name: header[name] for name in ("leanline", "torch")}
        self._lock = lock
        self._follows = False
        self._stages = _read_stages(path / STAGES)
        self._pending: dict[str, str] = {}

    @classmethod
    def open(cls, path: PathLike, config: Mapping[str, Any], *, resume: bool = True) -> "RunFolder":
        """Make a run folder, or go on with one of the same configuration.

        Args:
            path: The folder; it and its parents are made if missing.
            config: The resolved configuration: nested mappings, sequences, text, numbers, paths
                and dataclasses.
            resume: Whether a folder that already has stages may be gone on with.

        Raises:
            ConfigError: The configuration holds something that cannot be written as JSON.
            RunError: The folder belongs to another configuration (the message names what differs),
                has stages while `resume` is false, was made by a newer leanline, holds other
                things, is in use by another process, or cannot be written.
        """
        folder = Path(path).absolute()
        wanted = plain(config)
        if folder.exists() and not folder.is_dir():
            raise RunError(f"{folder} is a file, where a run folder is wanted")
        _refuse_foreign(folder)
        try:
            (folder / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot make the folder {folder}: {error.strerror}") from error
        lock = FolderLock(folder / LOCK)
        try:
            remove_temporaries(folder)
            remove_temporaries(folder / CHECKPOINTS)
            if (folder / CONFIG).exists():
                header = _read_header(folder)
                _compare(folder, header, wanted)
            else:
                header = _new_header(wanted)
                write_text(folder / CONFIG, canonical(header, indent=2) + "\n")
            run = cls(folder, header, lock)
            if run.stages and not resume:
                raise RunError(
                    f"{folder} already holds {len(run.stages)} stages; resume the run, choose "
                    "another folder, or remove this one"
                )
        except BaseException:
            lock.release()
            raise
        return run

    @classmethod
    def read(cls, path: PathLike) -> "RunFolder":
        """Look at a run folder, while it is written to or afterwards, without changing it.

        Raises:
            RunError: There is no run in that folder, or it cannot be read.
        """
        folder = Path(path).absolute()
        if not (folder / CONFIG).is_file():
            raise RunError(f"{folder} is no run folder: it has no {CONFIG}")
        return cls(folder, _read_header(folder), None)

    @classmethod
    def follow(cls, path: PathLike, config: Mapping[str, Any]) -> "RunFolder":
        """Work beside the process that opens the same folder, with what it holds until now.

        For processes that do the same work together: one `open` writes, the others follow. Rows
        that are appended here are kept in memory; no file is written or removed.

        Raises:
            ConfigError, RunError: As by `open`.
        """
        folder, wanted = Path(path).absolute(), plain(config)
        if (folder / CONFIG).exists():
            header = _read_header(folder)
            _compare(folder, header, wanted)
        else:
            header = _new_header(wanted)
        run = cls(folder, header, None)
        run._follows = True
        return run

    @property
    def stages(self) -> tuple[dict[str, Scalar], ...]:
        """The rows of the committed stages, in order."""
        return tuple(dict(row) for row in self._stages)

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / CHECKPOINTS

    @property
    def log(self) -> Path:
        """The file that logs go to."""
        return self.path / LOG

    def append_stage(self, row: Mapping[str, Any]) -> dict[str, Scalar]:
        """Commit a stage: one row, and the checkpoints that were saved since the last row.

        Args:
            row: Column name to text, number, truth value or None; NumPy and PyTorch scalars are
                turned into plain ones.

        Returns:
            The row as it was written, with the columns ``sha256.NAME`` of its checkpoints.

        Raises:
            ConfigError: A value is not a scalar, or a column name is a reserved one.
            RunError: The row cannot be written; then the stage does not count.
        """
        self._must_be_open()
        written = {column: _scalar(column, value) for column, value in row.items()}
        written |= {CHECKSUM_COLUMN + name: digest for name, digest in self._pending.items()}
        rows = [*self._stages, written]
        if not self._follows:
            write_text(self.path / STAGES, "".join(canonical(each) + "\n" for each in rows))
        self._stages = rows
        self._pending = {}
        return dict(written)

    def save_tensors(
        self, name: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
    ) -> Path:
        """Write a checkpoint, which the next row will commit; until then it may be overwritten.

        Args:
            name: Name of the checkpoint, a file name without suffix.
            tensors: Tensors of any shape, type and device.
            metadata: Text that travels with them.

        Returns:
            The file.

        Raises:
            ConfigError: The name is no file name, or a row has committed that checkpoint.
            RunError: The file cannot be written.
        """
        self._must_be_open()
        file = self._file(name)
        if self._committed(name) is not None:
            raise ConfigError(
                f"checkpoint {name!r} of {self.path} belongs to a finished stage and cannot be "
                "overwritten; give each stage's checkpoint a name of its own"
            )
        if not self._follows:
            self._pending[name] = tensor_files.save_tensors(file, tensors, metadata)
        return file

    def load_tensors(self, name: str) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Read a checkpoint.

        Returns:
            The tensors, on the CPU, and the text that was saved with them.

        Raises:
            CheckpointError: The file is missing, truncated, damaged, or not the one that the row
                of its stage committed.
        """
        file = self._file(name)
        loaded, metadata = tensor_files.load_tensors(file)
        digest = metadata.pop(tensor_files.CHECKSUM)
        committed = self._committed(name)
        if committed is not None and committed != digest:
            raise CheckpointError(
                f"{file} is not the checkpoint that its stage wrote: its checksum is "
                f"{digest[:12]}..., {STAGES} says {committed[:12]}..."
            )
        return loaded, metadata

    def has_tensors(self, name: str) -> bool:
        """Whether there is a file of that checkpoint."""
        return self._file(name).is_file()

    def remove_tensors(self, names: Iterable[str]) -> None:
        """Remove checkpoints that are no longer needed, to save space.

        Call it after the row that makes them superfluous has been appended. Names without a file
        are passed over.
        """
        self._must_be_open()
        for name in () if self._follows else names:
            tensor_files.remove_tensors(self._file(name))
            self._pending.pop(name, None)

    def close(self) -> None:
        """Give the folder back; a second call does nothing. Reading remains possible."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _must_be_open(self) -> None:
        if self._lock is None and not self._follows:
            raise RunError(f"{self.path} is not open for writing; use RunFolder.open")

    def _file(self, name: str) -> Path:
        if not name or Path(name).name != name or name.startswith("."):
            raise ConfigError(f"{name!r} is no name for a checkpoint: a file name is wanted")
        return self.checkpoints / f"{name}.safetensors"

    def _committed(self, name: str) -> str | None:
        for row in reversed(self._stages):
            digest = row.get(CHECKSUM_COLUMN + name)
            if digest is not None:
                return str(digest)
        return None


def _refuse_foreign(folder: Path) -> None:
    """Refuse a folder that holds things but no run."""
    if not folder.is_dir() or (folder / CONFIG).exists():
        return
    own = {CHECKPOINTS, LOG, LOCK}
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise RunError(f"cannot read the folder {folder}: {error.strerror}") from error
    foreign = [name for name in names if name not in own and not name.startswith(TEMPORARY)]
    if foreign:
        raise RunError(
            f"{folder} is not empty and holds no run (it has {', '.join(foreign[:3])}"
            f"{', ...' if len(foreign) > 3 else ''}); choose another folder"
        )


def _new_header(config: Any) -> dict[str, Any]:
    torch_version = str(torch.__version__)
    return {"schema": SCHEMA, "leanline": __version__, "torch": torch_version, "config": config}


def _read_header(folder: Path) -> dict[str, Any]:
    file = folder / CONFIG
    try:
        header = json.loads(file.read_text(encoding="utf-8"))
        schema = header["schema"]
        complete = isinstance(schema, int) and isinstance(header.get("config"), dict)
    except OSError as error:
        raise RunError(f"cannot read {file}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{file} is damaged: {error!r}") from error
    if complete and schema > SCHEMA:
        raise RunError(
            f"{folder} was made by leanline {header.get('leanline')} with layout {schema}; this "
            f"is leanline {__version__}, which knows layouts up to {SCHEMA}: update leanline"
        )
    if not complete or not {"leanline", "torch"} <= header.keys():
        raise RunError(f"{file} is damaged: it lacks the schema, the versions or the configuration")
    return dict(header)


def _compare(folder: Path, header: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    differences = describe_difference(header["config"], wanted)
    if differences:
        raise RunError(
            f"{folder} belongs to another configuration: {'; '.join(differences)}. Choose another "
            "folder, or the settings of that run"
        )
    for name, now in (("leanline", __version__), ("torch", str(torch.__version__))):
        if header[name] != now:
            logger.warning(
                "%s was begun with %s %s and goes on with %s", folder, name, header[name], now
            )


def _read_stages(file: Path) -> list[dict[str, Scalar]]:
    if not file.exists():
        return []
    rows: list[dict[str, Scalar]] = []
    try:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            row = json.loads(line)
            if not isinstance(row, dict):
                raise RunError(f"{file}, line {number} is damaged: it is no row")
            rows.append(row)
    except OSError as error:
        raise RunError(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise RunError(f"{file}, line {len(rows) + 1} is damaged: {error}") from error
    return rows


def _scalar(column: str, value: Any) -> Scalar:
    if column.startswith(CHECKSUM_COLUMN):
        raise ConfigError(f"column {column!r}: names that begin with {CHECKSUM_COLUMN!r} are ours")
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise ConfigError(
        f"column {column!r} holds a {type(value).__name__}; a row holds text, numbers, truth "
        "values and None"
    )
