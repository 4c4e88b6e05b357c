"""Everything that is wrong with a data folder."""

from pathlib import Path

from leanline.data.dataset import SPLITS
from leanline.data.folder_scan import FolderScan, scan_folder
from leanline.data.image_folder import ImageFolder, Weights, check_settings
from leanline.data.labels import label_problem
from leanline.data.pictures import read_image, read_labels
from leanline.errors import DataError
from leanline.types import PathLike


def check(
    root: PathLike,
    target: str | None = None,
    classes: int | None = None,
    ignore: int | None = None,
    crop: tuple[int, ...] | None = None,
    flip: bool = False,
    weights: Weights | None = None,
    reduce: int = 1,
) -> list[str]:
    """Lists everything that is wrong with a data folder; reads every pixel of it.

    Takes what `ImageFolder` takes. An empty list means that the folder can be trained on.
    """
    check_settings(target, classes, ignore, 0)
    scan = scan_folder(Path(root), target)
    problems = scan.problems + _pixel_problems(scan, classes, ignore)
    if problems:
        return problems
    folder = ImageFolder(root, target, classes, ignore, 0, crop, flip, weights, reduce)
    for look in (lambda: folder.normalisation, lambda: folder.out_channels):
        try:
            look()
        except DataError as error:
            problems.append(str(error))
    if problems or folder.task == "denoising":
        return problems
    for pair in scan.pairs["test"]:
        problem = label_problem(pair.target, read_labels(pair.target), folder.classes, ignore)
        problems += [problem] if problem else []
    return problems


def _pixel_problems(scan: FolderScan, classes: int | None, ignore: int | None) -> list[str]:
    problems: list[str] = []
    for split in SPLITS:
        for pair in scan.pairs.get(split, []):
            try:
                read_image(pair.image)
            except DataError as error:
                problems.append(str(error))
            try:
                if scan.target == "clean":
                    read_image(pair.target)
                else:
                    labels = read_labels(pair.target)
                    problem = label_problem(pair.target, labels, classes or 2**31, ignore)
                    problems += [problem] if problem else []
            except DataError as error:
                problems.append(str(error))
    return problems
