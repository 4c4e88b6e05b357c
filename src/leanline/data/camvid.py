"""CamVid: driving scenes with eleven classes (Brostow et al. 2009; the split of SegNet).

The pictures are not part of leanline. The folder holds {train,val,test}/{images,labels} with 367,
101 and 233 pictures of 480 x 360 pixels; labels are 0 to 10, and 11 for pixels without one.
"""

from functools import cached_property

from leanline.data.dataset import Task, check_split
from leanline.data.image_folder import ImageFolder, ImageFolderSplit, Normalisation
from leanline.data.labels import median_frequency
from leanline.data.pictures import read_labels
from leanline.errors import DataError
from leanline.types import PathLike

CLASSES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)
IGNORE = len(CLASSES)
"""Label of pixels without a class."""


class CamVid:
    """CamVid, as the thesis trains on it (appendix A.1.1): class weights, crops and flips.

    Pixels without a class do not count. The loss weighs classes by median frequency
    (`class_weights`). Images are scaled as by `ImageFolder`.

    Args:
        root: the folder, with {train,val,test}/{images,labels}.
        joined: whether to train on the training and the validation pictures together, as the
            thesis does; "val" then holds pictures that were trained on.
        reduce: factor by which pictures are made smaller, such as 2 for 240 x 180.
        crop: height and width (or one number for both), in pixels of the reduced picture, of the
            part that a training step reads at a random place; None reads whole pictures.
        flip: whether training mirrors half of the pictures, by chance, left to right.
        memory: bytes of pictures to keep in memory.

    Raises:
        ConfigError: a value out of range, a crop larger than the pictures.
        DataError: the folder is not of this layout.
    """

    task: Task = "segmentation"
    in_channels = 3
    out_channels = len(CLASSES)
    classes = CLASSES
    ignore = IGNORE

    def __init__(
        self,
        root: PathLike,
        joined: bool = False,
        reduce: int = 1,
        crop: tuple[int, ...] | None = None,
        flip: bool = True,
        memory: int = 2**29,
    ) -> None:
        self.joined = joined
        self._folder = ImageFolder(
            root, "labels", len(CLASSES), IGNORE, memory, crop, flip, reduce=reduce
        )
        self.root = self._folder.root
        if self._folder.in_channels != self.in_channels:
            raise DataError(
                f"the pictures of {self.root} have {self._folder.in_channels} channels; CamVid's "
                "are in colour (other pictures: folder:DIR)"
            )

    @property
    def normalisation(self) -> Normalisation:
        """Mean and standard deviation of the pictures of "train" in the folder."""
        return self._folder.normalisation

    @cached_property
    def class_weights(self) -> tuple[float, ...]:
        """Median-frequency weights (Eigen & Fergus 2015) of all training labels, read once."""
        labels = (read_labels(pair.target) for pair in self.split("train").pairs)
        return median_frequency(labels, len(CLASSES), IGNORE)

    def split(self, name: str) -> ImageFolderSplit:
        """The pictures of "train", "val" or "test", in the order of their names."""
        split = self._folder.split(check_split(name, "CamVid"))
        if name == "train" and self.joined:
            split.pairs = split.pairs + self._folder.split("val").pairs
        return split
