"""Networks by name, and the trained one that ships with leanline."""

from leanline.models.msd import MSD
from leanline.models.pretrained import load_msd, pretrained, save_msd
from leanline.models.registry import make

__all__ = ["MSD", "load_msd", "make", "pretrained", "save_msd"]
