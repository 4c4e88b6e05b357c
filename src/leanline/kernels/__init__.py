"""Kernels: networks of sparse 3x3 convolutions over planes, on the CPU, with their reference.

Importing the package decorates all compiled functions, so that their cache is in the right place
(`leanline.kernels.cache`); they are compiled when they are first called.
"""

from leanline.kernels.cache import kernel_cache

with kernel_cache():
    from leanline.kernels.backward import backward_image
    from leanline.kernels.image import forward_image

__all__ = ["backward_image", "forward_image"]
