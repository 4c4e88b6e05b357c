"""Two-dimensional convolution."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.signal
from jaxtyping import Float32

from leanline.tuning.kernels.source import at_least, source_of, with_constants
from leanline.tuning.measuring.bench import Expected
from leanline.tuning.measuring.gpu_kernels import Device, OpenCLKernel
from leanline.tuning.measuring.timing import TimingPolicy
from leanline.tuning.paper_spaces import paper_space
from leanline.tuning.space import SearchSpace


def convolution(
    width: int = 4096,
    height: int = 4096,
    filter_size: int = 15,
    *,
    space: SearchSpace | None = None,
    device: Device = Device(),  # noqa: B008 - frozen
    policy: TimingPolicy = TimingPolicy(),  # noqa: B008 - frozen
) -> OpenCLKernel:
    """Return the convolution of Table A.1, as OpenCL C.

    Args:
        width: Of the output, pixels.
        height: Of the output, pixels.
        filter_size: Width and height of the filter.
        space: The configurations; by default those of Table A.1.
        device: Which device, and how to compile for it.
        policy: How often to repeat, and when to give up.

    Raises:
        ConfigError: A size is below 1.
    """
    at_least("convolution", 1, width=width, height=height, filter_size=filter_size)
    rng = np.random.default_rng(0)
    shape = (height + filter_size - 1, width + filter_size - 1)
    image = rng.random(shape, dtype=np.float32)
    weights = rng.random((filter_size, filter_size), dtype=np.float32) / np.float32(filter_size**2)

    def grid(given: dict[str, Any]) -> tuple[int, int]:
        wide = given["block_size_x"] * given["tile_size_x"]
        high = given["block_size_y"] * given["tile_size_y"]
        return -(-width // wide), -(-height // high)

    output = np.zeros((height, width), dtype=np.float32)
    constants = {"FILTER_WIDTH": filter_size, "FILTER_HEIGHT": filter_size}
    return OpenCLKernel(
        source_of("convolution"),
        "convolution",
        (output, image, weights, np.int32(width), np.int32(height)),
        grid=grid,
        space=with_constants(space or paper_space("convolution"), constants),
        expected=Expected((convolution_reference(image, weights), None, None, None, None)),
        device=device,
        policy=policy,
    )


def convolution_reference(
    image: Float32[np.ndarray, "in_height in_width"],
    weights: Float32[np.ndarray, "filter_height filter_width"],
) -> Float32[np.ndarray, "height width"]:
    """Return ``output[y, x] = sum(weights * image[y : y + filter_height, x : x + filter_width])``.

    By Fourier transforms, in double precision.
    """
    flipped = weights[::-1, ::-1].astype(np.float64)
    result = scipy.signal.fftconvolve(image.astype(np.float64), flipped, mode="valid")
    return np.asarray(result, dtype=np.float32)
