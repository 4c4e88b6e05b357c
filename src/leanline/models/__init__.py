"""Networks by name, and the trained one that ships with leanline."""

from leanline.models.msd import MSD

__all__ = ["MSD"]
