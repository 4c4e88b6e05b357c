"""What is in a data folder, and everything that is wrong with it."""

from dataclasses import dataclass, field
from pathlib import Path

from leanline.data.dataset import SPLITS
from leanline.data.pictures import Header

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
    channels = [("train", pair) for pair in scan.pairs["train"][:1]]
    for split in SPLITS[1:]:
        channels += [(split, pair) for pair in scan.pairs[split][:1]]
    for split, pair in channels[1:]:
        _check_channels(scan, first, pair)


def _check_channels(scan: FolderScan, first: Pair, other: Pair) -> None:
    """Reports an image, or a clean picture, that is grey where the first is colour, or so."""
    compared = [(first.image, first.image_header, other.image, other.image_header)]
    if scan.target == "clean":
        compared.append((first.target, first.target_header, other.target, other.target_header))
    for path, header, other_path, other_header in compared:
        if header.channels != other_header.channels:
            scan.problems.append(
                f"{path} has {header.channels} channels and {other_path} has "
                f"{other_header.channels}; use all grey or all colour"
            )


def _size(header: Header) -> str:
    return f"{header.height} x {header.width}"
