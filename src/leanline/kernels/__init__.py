"""Kernels: networks of sparse 3x3 convolutions over planes, on the CPU, with their reference.

Importing the package decorates all compiled functions, so that their cache is in the right place
(`leanline.records.code_cache`); they are compiled when they are first called.
"""

from pathlib import Path

from leanline.records.code_cache import code_cache

SOURCES = Path(__file__).resolve().parent

with code_cache("kernels", SOURCES):
    from leanline.kernels.backward import backward_image
    from leanline.kernels.image import forward_image

__all__ = ["backward_image", "forward_image"]
