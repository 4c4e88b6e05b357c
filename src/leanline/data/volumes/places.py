"""Volumes as users name them: which format a path is of, and whether an output may go there."""

import glob
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from leanline.data.volumes import hdf5_dataset, picture_folder, tiff_stack, zarr_array
from leanline.data.volumes.volume import Layout, Sink, Source, partial_of
from leanline.errors import ConfigError, DataError, RunError
from leanline.types import PathLike

Kind = Literal["pictures", "tiff", "zarr", "hdf5"]

_HDF5 = re.compile(r"^(?P<path>.+\.(?:h5|hdf5|hdf|nxs))(?::(?P<inner>.*))?$", re.IGNORECASE)
_TIFF = (".tif", ".tiff", ".btf")
_ZARR = (".zarr", ".zr")
_ZARR_FILES = ("zarr.json", ".zarray", ".zgroup")
_PICTURE = (".png", ".jpg", ".jpeg")
_WANTED = (
    "a folder of pictures, a TIFF stack (.tif), a Zarr array (store.zarr or store.zarr/array) or "
    "an HDF5 dataset (file.h5:/dataset)"
)
_SUFFIX = {"tiff": ".tif", "zarr": ".zarr", "hdf5": ".h5"}


@dataclass(frozen=True)
class Place:
    """Where a volume is, or will be.

    Attributes:
        kind: its format.
        path: its file or folder; of a Zarr array, the folder of the array.
        inner: the dataset of an HDF5 file; empty for the only one.
    """

    kind: Kind
    path: Path
    inner: str = ""

    def __str__(self) -> str:
        """As users write it."""
        return f"{self.path}:{self.inner}" if self.inner else str(self.path)

    @property
    def partial(self) -> Path:
        """Where it lies until it is finished."""
        return partial_of(self.path)

    @property
    def beside(self) -> Path:
        """A path in the same folder for what is noted about it; outside of a Zarr store."""
        store = zarr_array.store_of(self.path) if self.kind == "zarr" else None
        if store is None:
            return self.path
        return store.with_name("-".join((store.name, *self.path.relative_to(store).parts)))


def parse_place(given: PathLike) -> Place | None:
    """The place that a path names, by its name and by what is there; None if it does not say."""
    text = str(given)
    found = _HDF5.match(text)
    path = Path(text).expanduser()
    if found:
        return Place("hdf5", Path(found["path"]).expanduser(), found["inner"] or "")
    inside = any(part.suffix.lower() in _ZARR for part in (path, *path.parents))
    if inside or any((path / name).exists() for name in _ZARR_FILES):
        return Place("zarr", path)
    if path.suffix.lower() in _TIFF and not path.is_dir():
        return Place("tiff", path)
    if path.is_dir() or text.endswith("/"):
        return Place("pictures", path)
    return None


def open_source(given: PathLike) -> Source:
    """Open a volume.

    Raises:
        DataError: there is none, or it cannot be used.
        RunError: its format needs a package that is not installed.
    """
    place = parse_place(given)
    if place is None or not place.path.exists():
        path = Path(given).expanduser()
        if not path.exists():
            raise DataError(f"there is no {given}; give {_WANTED}")
        hint = "; give the folder it is in" if path.suffix.lower() in _PICTURE else ""
        raise DataError(f"{given} is no volume: {_WANTED} is{hint}")
    if place.kind == "hdf5":
        return hdf5_dataset.Hdf5Volume(place.path, place.inner)
    if place.kind == "zarr":
        return zarr_array.ZarrVolume(place.path)
    if place.kind == "tiff":
        return tiff_stack.TiffStack(place.path)
    if not picture_folder.has_pictures(place.path):
        stacks = sorted(place.path.glob("*.zarr")) + sorted(place.path.glob("*.h5"))
        if stacks:
            raise DataError(
                f"{place.path} holds volumes, such as {stacks[0].name}: name one, or several as "
                f"'{place.path}/*{stacks[0].suffix}'"
            )
    return picture_folder.PictureFolder(place.path)


def place_output(given: PathLike, source: PathLike) -> Place:
    """The place of an output: in the format that its name says, or of a folder for a folder.

    Raises:
        ConfigError: its name does not say a format, it is the input, or one is inside the other.
    """
    out, origin = parse_place(given), parse_place(source)
    kind = origin.kind if origin else "pictures"
    path = Path(given).expanduser()
    if out is None:
        if path.suffix.lower() in _PICTURE:
            raise ConfigError(f"OUT {given}: pictures are written into a folder; give its name")
        if path.is_file():
            raise ConfigError(f"OUT {given} is a file; give {_WANTED}")
        if kind != "pictures":
            raise ConfigError(
                f"OUT {given}: give {given}{_SUFFIX[kind]}, in the format of {source}, or "
                f"{given}/ for a folder of pictures"
            )
        out = Place("pictures", path)
    if out.kind == "tiff" and out.path.suffix.lower() == ".btf":
        raise ConfigError(f"OUT {given}: give a name that ends in .tif; BigTIFF is used by itself")
    if origin is not None:
        _check_apart(out, origin)
    return out


def create_sink(place: Place, layout: Layout) -> Sink:
    """Begin an output, or go on with what lies at `place.partial`.

    Raises:
        DataError: the slices do not fit the format, or the partial file is damaged.
        RunError: it cannot be written, or a package is not installed.
    """
    if not place.path.parent.is_dir() and place.kind != "zarr":
        raise RunError(f"cannot write {place.path}: there is no folder {place.path.parent}")
    if place.kind == "hdf5":
        return hdf5_dataset.Hdf5Sink(place.path, place.inner, layout)
    if place.kind == "zarr":
        return zarr_array.ZarrSink(place.path, layout)
    if place.kind == "tiff":
        return tiff_stack.TiffStackSink(place.path, layout)
    return picture_folder.PictureFolderSink(place.path, layout)


def exists(place: Place) -> bool:
    """Whether something is at the place of an output; an empty folder is nothing."""
    path = place.path
    return path.exists() and not (path.is_dir() and not any(path.iterdir()))


def read_record(place: Place) -> dict[str, Any] | None:
    """How an output was made: what its metadata say, None if leanline did not make it."""
    if place.kind == "hdf5":
        return hdf5_dataset.read_hdf5_record(place.path, place.inner)
    if place.kind == "zarr":
        return zarr_array.read_zarr_record(place.path)
    if place.kind == "tiff":
        return tiff_stack.read_tiff_record(place.path)
    return picture_folder.read_folder_record(place.path)


def last_change(place: Place) -> int:
    """When a file of a volume was last written, in nanoseconds since 1970."""
    files = place.path.rglob("*") if place.kind == "zarr" else place.path.glob("*")
    found = [place.path] if place.path.is_file() else [file for file in files if file.is_file()]
    return max((file.stat().st_mtime_ns for file in found), default=0)


def several(given: str) -> list[str] | None:
    """The volumes that a pattern such as `scans/*.tif` names; None if it is no pattern.

    Raises:
        DataError: it names none.
    """
    if not glob.has_magic(given) or Path(given).exists():
        return None
    pattern, inner = given, ""
    hdf5 = _HDF5.match(given)
    if hdf5:
        pattern, inner = hdf5["path"], f":{hdf5['inner']}" if hdf5["inner"] else ""
    found = sorted(glob.glob(str(Path(pattern).expanduser())))  # noqa: PTH207 - may be absolute
    if not found:
        raise DataError(f"nothing is called {given}")
    return [path + inner for path in found]


def _check_apart(out: Place, origin: Place) -> None:
    to, given = out.path.resolve(), origin.path.resolve()
    if to == given:
        hint = "; give another file" if out.kind == "hdf5" else ""
        raise ConfigError(f"OUT {out} is the input{hint}")
    if given in to.parents:
        raise ConfigError(f"OUT {out} is inside of the input {origin}; choose another place")
    if to in given.parents:
        raise ConfigError(f"the input {origin} is inside of OUT {out}; choose another place")
