"""What is in a data folder, and everything that is wrong with it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from leanline.data.dataset import SPLITS
from leanline.data.pictures import SUFFIXES, Header, read_header
from leanline.errors import DataError

TARGETS = ("labels", "clean")


@dataclass(frozen=True)
class Pair:
    """A picture and its target."""

    image: Path
    target: Path
    image_header: Header
    target_header: Header


@dataclass
class FolderScan:
    """The pairs of each split, and the problems in the order in which they were found."""

    root: Path
    target: str
    pairs: dict[str, list[Pair]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def scan_folder(root: Path, target: str | None) -> FolderScan:
    """Lists the pairs of pictures in a data folder; reads headers, no pixels.

    Args:
        root: holds {train,val,test}/{images,labels} or {train,val,test}/{images,clean}.
        target: "labels", "clean", or None for labels where there are labels, else clean.
    """
    scan = FolderScan(root, target or _present_target(root))
    if not root.is_dir():
        scan.problems.append(f"there is no data folder {root}")
        return scan
    for split in SPLITS:
        scan.pairs[split] = _scan_split(scan, split)
    firsts = [scan.pairs[split][0] for split in SPLITS if scan.pairs[split]]
    for pair in firsts[1:]:
        _check_channels(scan, firsts[0], pair)
    if firsts and scan.target == "clean":
        _check_units(scan, firsts[0])
    return scan


def _present_target(root: Path) -> str:
    if any((root / split / "labels").is_dir() for split in SPLITS):
        return "labels"
    return "clean" if any((root / split / "clean").is_dir() for split in SPLITS) else "labels"


def _scan_split(scan: FolderScan, split: str) -> list[Pair]:
    folder = scan.root / split
    if not folder.is_dir():
        scan.problems.append(
            f"{scan.root} has no folder {split!r}; it must hold train, val and test, each with "
            f"images and {scan.target}"
        )
        return []
    images = _pictures(scan, folder / "images")
    targets = _pictures(scan, folder / scan.target)
    if images is None or targets is None:
        return []
    for stem in sorted(images.keys() ^ targets.keys()):
        lonely, there = (images, scan.target) if stem in images else (targets, "images")
        scan.problems.append(
            f"{lonely[stem]} has no partner: there is no picture {stem!r} in {folder / there}"
        )
    pairs = []
    for stem in sorted(images.keys() & targets.keys()):
        headers = [_header(scan, path) for path in (images[stem], targets[stem])]
        if headers[0] is not None and headers[1] is not None:
            pairs.append(Pair(images[stem], targets[stem], headers[0], headers[1]))
    _check_sizes(scan, pairs)
    return pairs


def _pictures(scan: FolderScan, folder: Path) -> dict[str, Path] | None:
    """Picture files by stem; None where the folder is missing or has none. Others are left out."""
    if not folder.is_dir():
        hint = ""
        if folder.name in TARGETS:
            hint = (
                "; for segmentation it must hold labels (class ids, same file names as images), "
                "for denoising clean"
            )
        scan.problems.append(f"{folder.parent} has no folder {folder.name!r}{hint}")
        return None
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in SUFFIXES:
            continue
        if path.stem in found:
            scan.problems.append(
                f"{folder} has two pictures {path.stem!r}: {found[path.stem].name} and "
                f"{path.name}; keep one"
            )
            continue
        found[path.stem] = path
    if not found:
        scan.problems.append(f"{folder} holds no pictures ({', '.join(SUFFIXES)})")
        return None
    return found


def _header(scan: FolderScan, path: Path) -> Header | None:
    try:
        return read_header(path)
    except DataError as error:
        scan.problems.append(str(error))
        return None


def _check_sizes(scan: FolderScan, pairs: Iterable[Pair]) -> None:
    """Reports pictures that differ in size or channels from the first of their split."""
    first: Pair | None = None
    for pair in pairs:
        if _size(pair.image_header) != _size(pair.target_header):
            scan.problems.append(
                f"{pair.image} has {_size(pair.image_header)} pixels but {pair.target} has "
                f"{_size(pair.target_header)}; a picture and its target must have one size"
            )
        if first is None:
            first = pair
            continue
        if _size(pair.image_header) != _size(first.image_header):
            scan.problems.append(
                f"mixed sizes: {first.image} has {_size(first.image_header)} pixels and "
                f"{pair.image} has {_size(pair.image_header)} (height x width); crop or pad the "
                "pictures of a split to one size"
            )
        _check_channels(scan, first, pair)


def _check_channels(scan: FolderScan, first: Pair, other: Pair) -> None:
    """Reports an image, or a clean picture, of other channels or bits than the first."""
    compared = [(first.image, first.image_header, other.image, other.image_header)]
    if scan.target == "clean":
        compared.append((first.target, first.target_header, other.target, other.target_header))
    for path, header, other_path, other_header in compared:
        if header.channels != other_header.channels:
            scan.problems.append(
                f"{path} has {header.channels} channel(s) and {other_path} has "
                f"{other_header.channels}; use all grey or all colour"
            )
        elif header.full_scale != other_header.full_scale:
            scan.problems.append(
                f"{path} holds {_depth(header)} and {other_path} {_depth(other_header)}, which "
                "are different units; save all in one kind"
            )


def _check_units(scan: FolderScan, pair: Pair) -> None:
    """Reports clean pictures of other bits than the images, which go through the same scaling."""
    scales = (pair.image_header.full_scale, pair.target_header.full_scale)
    if None not in scales and scales[0] != scales[1]:
        scan.problems.append(
            f"{pair.image} holds {_depth(pair.image_header)} and {pair.target} "
            f"{_depth(pair.target_header)}, which are different units; save both in one kind"
        )


def _size(header: Header) -> str:
    return f"{header.height} x {header.width}"


def _depth(header: Header) -> str:
    names = {None: "floating point or 32-bit numbers", 1: "1 bit", 255: "8 bits", 65535: "16 bits"}
    return names.get(header.full_scale, f"0 to {header.full_scale}")
