"""Data folders as `leanline data` writes and checks them."""

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image
from torch import Tensor

from leanline.data import CamVid, ImagingDataset
from leanline.data import check as check_folder
from leanline.data.dataset import SPLITS
from leanline.records.atomic import atomic_write
from leanline.records.progress import bar
from leanline.records.settings import call_with_settings

_UNSEEN = ("memory", "joined")  # settings that change nothing that is looked at
_SETTLED: dict[str, dict[str, Any]] = {
    "folder": {},
    "camvid": {"target": "labels", "classes": CamVid.out_channels, "ignore": CamVid.ignore},
}


def problems_of(name: str, settings: dict[str, str]) -> list[str]:
    """Everything that is wrong with a folder's files; nothing can be with simulated pictures."""
    kind, _, place = name.partition(":")
    if not place or kind not in _SETTLED:
        return []
    known: dict[str, Any] = {key: value for key, value in settings.items() if key not in _UNSEEN}
    given = {**known, **_SETTLED[kind], "root": place}
    return call_with_settings(check_folder, given, f"data set {name!r}")


def write_folder(dataset: ImagingDataset, out: Path) -> None:
    """Write a segmentation data set as {train,val,test}/{images,labels}/00000.tif and .png.

    Raises:
        RunError: a file cannot be written.
    """
    total = sum(len(dataset.split(split)) for split in SPLITS)
    with bar("pictures", total) as report:
        for split in SPLITS:
            pictures = dataset.split(split)
            for kind in ("images", "labels"):
                (out / split / kind).mkdir(parents=True, exist_ok=True)
            for index in range(len(pictures)):
                _write_pair(out / split, f"{index:05d}", *pictures[index])
                report.advance()


def _write_pair(folder: Path, stem: str, image: Tensor, labels: Tensor) -> None:
    with atomic_write(folder / "images" / f"{stem}.tif") as temporary:
        tifffile.imwrite(temporary, image[0].numpy())
    with atomic_write(folder / "labels" / f"{stem}.png") as temporary:
        Image.fromarray(labels.numpy().astype(np.uint8)).save(temporary)
