"""A folder of pictures, PNG, TIFF or JPEG, in the order of their names."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image as PillowImage

from leanline.data.pictures import SUFFIXES, Header, read_header, read_pixels
from leanline.data.volumes.in_place import flush, rename
from leanline.data.volumes.volume import Layout, Values, check_dtype, check_range, partial_of
from leanline.errors import DataError, RunError
from leanline.records.atomic import TEMPORARY, remove_temporaries, write_text

RECORD_FILE = "leanline.json"
"""The file in an output folder that says how it was made."""

_PNG = ("uint8", "uint16")


class PictureFolder:
    """Pictures of a folder; sizes may differ.

    Args:
        path: the folder; other files and folders in it are left out.

    Raises:
        DataError: no pictures, two of one name, one whose header cannot be read, or grey and
            colour pictures together.
    """

    depth = 1

    def __init__(self, path: Path) -> None:
        self.path, self.place = path, str(path)
        self._files = _pictures(path)
        self._headers = [read_header(file) for file in self._files]
        self.slices, self.channels = len(self._files), self._headers[0].channels
        for file, header in zip(self._files, self._headers, strict=True):
            if header.channels != self.channels:
                raise DataError(
                    f"{self._files[0]} has {self.channels} channels and {file} has "
                    f"{header.channels}; use all grey or all colour"
                )
        self.dtype = check_dtype(self.place, read_pixels(self._files[0]).dtype)
        self.traits: Mapping[str, Any] = {"names": [file.name for file in self._files]}

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of a picture."""
        header: Header = self._headers[index]
        return header.height, header.width

    def read(self, start: int, stop: int) -> Values:
        """Pictures `start` to `stop`, of one size.

        Raises:
            DataError: one of them is damaged or cut off, or of another dtype than the first.
        """
        check_range(self.place, start, stop, self.slices)
        found = [self._one(file) for file in self._files[start:stop]]
        return found[0][None] if len(found) == 1 else np.stack(found)

    def _one(self, file: Path) -> np.ndarray:
        pixels = read_pixels(file)
        if pixels.dtype.newbyteorder("=") != self.dtype:
            raise DataError(
                f"{self._files[0]} holds {self.dtype} values and {file} holds {pixels.dtype}; "
                "use pictures of one kind"
            )
        return pixels[..., None] if pixels.ndim == 2 else pixels

    def identity(self) -> Mapping[str, Any]:
        """Path, and a digest of the names of the files."""
        digest = hashlib.sha256("\n".join(file.name for file in self._files).encode())
        return {
            "path": str(self.path.absolute()),
            "pictures": self.slices,
            "dtype": str(self.dtype),
            "names": digest.hexdigest()[:16],
        }

    def stamp(self, start: int, stop: int) -> str:
        """A digest of the sizes and dates of pictures, one of which may have been repaired."""
        about = [file.stat() for file in self._files[start:stop]]
        text = " ".join(f"{one.st_size} {one.st_mtime_ns}" for one in about)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def close(self) -> None:
        """Nothing is open."""


class PictureFolderSink:
    """A folder with a picture for each one of the input, of the same name.

    Whole numbers of 8 and 16 bits are written in the format of the input, but never as JPEG, which
    would change them (PNG instead); everything else as TIFF.

    Args:
        path: the folder.
        layout: its form; without names, pictures are numbered.

    Raises:
        RunError: it cannot be written.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path, self._partial = path, partial_of(path)
        count = len(layout.sizes)
        names = layout.traits.get("names") or [f"{index:06d}.tif" for index in range(count)]
        self._names = [_named(name, layout) for name in names]
        self._channels, self._dtype = layout.channels, layout.dtype
        self._unsynced: set[Path] = set()
        if not self._partial.is_dir():
            try:
                self._partial.mkdir()
            except OSError as error:
                raise RunError(f"cannot make {self._partial}: {error.strerror}") from error
            write_text(self._partial / RECORD_FILE, json.dumps(dict(layout.record), indent=1))

    def write(self, start: int, values: np.ndarray) -> None:
        """Write pictures from `start` on, each completely or not at all.

        Raises:
            RunError: the disk is full, or otherwise refuses.
        """
        for name, picture in zip(self._names[start : start + len(values)], values, strict=True):
            plain = picture[..., 0] if self._channels is None else picture
            file, temporary = self._partial / name, self._partial / f"{TEMPORARY}{name}"
            try:
                if name.endswith(".png"):
                    PillowImage.fromarray(plain).save(temporary)
                else:
                    _write_tiff(temporary, plain)
                temporary.replace(file)
            except OSError as error:
                raise RunError(f"cannot write {file}: {error.strerror or error}") from error
            self._unsynced.add(file)

    def sync(self) -> None:
        """Bring the pictures that were written to the disk."""
        flush(self._unsynced)
        flush([self._partial] if self._unsynced else [])
        self._unsynced.clear()

    def finish(self) -> None:
        """Rename the folder."""
        remove_temporaries(self._partial)
        rename(self._partial, self.path)

    def close(self) -> None:
        """Nothing is open."""


def read_folder_record(path: Path) -> dict[str, Any] | None:
    """How a folder was made, if leanline made it."""
    try:
        return dict(json.loads((path / RECORD_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def has_pictures(path: Path) -> bool:
    """Whether a folder holds a file that looks like a picture."""
    return any(_is_picture(file) for file in path.iterdir())


def _is_picture(file: Path) -> bool:
    return not file.name.startswith(".") and file.suffix.lower() in SUFFIXES


def _pictures(path: Path) -> list[Path]:
    found: dict[str, Path] = {}
    for file in sorted(file for file in path.iterdir() if _is_picture(file)):
        if file.stem in found:
            raise DataError(
                f"{path} has two pictures {file.stem!r}: {found[file.stem].name} and {file.name}; "
                "keep one"
            )
        found[file.stem] = file
    if not found:
        raise DataError(f"{path} holds no pictures ({', '.join(SUFFIXES)})")
    return list(found.values())


def _named(name: str, layout: Layout) -> str:
    """A picture's name in the output, with the suffix of a format that can hold it."""
    stem, suffix = Path(name).stem, Path(name).suffix.lower()
    holds = str(layout.dtype) == "uint8" if layout.channels else str(layout.dtype) in _PNG
    if not holds or layout.channels not in (None, 3):
        return f"{stem}.tif"
    return f"{stem}{suffix}" if suffix in (".png", ".tif", ".tiff") else f"{stem}.png"


def _write_tiff(path: Path, picture: np.ndarray) -> None:
    colour = picture.ndim == 3 and picture.shape[-1] == 3 and picture.dtype.kind == "u"
    tifffile.imwrite(
        path,
        picture,
        photometric="rgb" if colour else "minisblack",
        planarconfig="contig" if picture.ndim == 3 else None,
    )
