"""Data sets by the names that the command line uses."""

from collections.abc import Callable
from typing import Any

from leanline.data.camvid import CamVid
from leanline.data.circle_square import CircleSquare
from leanline.data.dataset import ImagingDataset
from leanline.data.dynamic_ct import DynamicCT
from leanline.data.image_folder import ImageFolder
from leanline.errors import ConfigError
from leanline.records.settings import call_with_settings, nearest

NAMED: dict[str, Callable[..., ImagingDataset]] = {
    "circle-square": CircleSquare,
    "dynamic-ct": DynamicCT,
}
IN_FOLDERS: dict[str, Callable[..., ImagingDataset]] = {"folder": ImageFolder, "camvid": CamVid}


def make(name: str, **settings: Any) -> ImagingDataset:
    """Makes a data set from its name: "circle-square", "dynamic-ct", "folder:DIR" or "camvid:DIR".

    Args:
        name: the name; what follows a colon is the folder.
        settings: of the class that the name stands for (`CircleSquare`, `DynamicCT`,
            `ImageFolder`, `CamVid`), as values or as text (`train="100"`).

    Raises:
        ConfigError: an unknown name or setting, a value of the wrong type.
        DataError: the folder cannot be used.
    """
    known = [*NAMED, *(f"{kind}:DIR" for kind in IN_FOLDERS)]
    kind, colon, place = name.partition(":")
    owner = f"data set {name!r}"
    if not colon and kind in NAMED:
        return call_with_settings(NAMED[kind], settings, owner)
    if colon and place and kind in IN_FOLDERS:
        if "root" in settings:
            raise ConfigError(f"{owner}: the folder stands in the name already; leave out root=")
        return call_with_settings(IN_FOLDERS[kind], {**settings, "root": place}, owner)
    if kind in IN_FOLDERS:
        raise ConfigError(f"{owner}: write {kind}:DIR, with the folder after the colon")
    raise ConfigError(
        f"there is no data set {name!r}{nearest(name, known)}; there are {', '.join(known)}"
    )
