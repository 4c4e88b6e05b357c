"""Networks by name, and the trained one that ships with leanline."""

from leanline.models.fcn_resnet50 import FCNResNet50
from leanline.models.msd import MSD
from leanline.models.pretrained import load_msd, pretrained, save_msd
from leanline.models.registry import make
from leanline.models.unet4 import UNet4

__all__ = ["FCNResNet50", "MSD", "UNet4", "load_msd", "make", "pretrained", "save_msd"]
