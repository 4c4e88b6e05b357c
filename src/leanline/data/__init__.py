"""Data sets: simulated pictures and folders of the user's own."""

from leanline.data.augmentation import Augmentation
from leanline.data.camvid import CamVid
from leanline.data.circle_square import CircleSquare
from leanline.data.dataset import ImagingDataset, Split, Task
from leanline.data.dynamic_ct import DynamicCT
from leanline.data.folder_check import check
from leanline.data.image_folder import ImageFolder, Normalisation
from leanline.data.registry import make

__all__ = [
    "Augmentation",
    "CamVid",
    "CircleSquare",
    "DynamicCT",
    "ImageFolder",
    "ImagingDataset",
    "Normalisation",
    "Split",
    "Task",
    "check",
    "make",
]
