"""Data sets: simulated pictures and folders of the user's own."""

from leanline.data.circle_square import CircleSquare

__all__ = ["CircleSquare"]
