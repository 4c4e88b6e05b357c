"""The plane kernels on a GPU, in Triton: inference and training.

Importing this package needs Triton (``pip install leanline[gpu]``); nothing else in leanline
imports it before a network runs on a GPU.

Planes lie one after the other in a tensor (`canvas`). Steps that do not depend on each other are
computed together, in one launch for each of their kinds (`waves`, `launches`); every program of a
launch computes a block of pixels of one plane of one image. No pass waits for the GPU, and after
the first pass with pictures of one size nothing but pictures and numbers is copied to it, so that
a pass can be captured in a CUDA graph.
"""

from leanline.errors import ModelError

try:
    import triton as _triton  # noqa: F401
except ImportError as problem:
    raise ModelError(
        "pictures on a GPU need Triton, which is not installed: pip install 'leanline[gpu]', or "
        "move the network and its pictures to the CPU"
    ) from problem

from leanline.kernels.gpu.run import backward, forward, infer

__all__ = ["backward", "forward", "infer"]
