"""Matrix multiplication."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float32

from leanline.errors import ConfigError
from leanline.tuning.kernels.source import at_least, source_of
from leanline.tuning.measuring.bench import Expected
from leanline.tuning.measuring.gpu_kernels import Device, OpenCLKernel
from leanline.tuning.measuring.timing import TimingPolicy
from leanline.tuning.paper_spaces import paper_space
from leanline.tuning.space import SearchSpace

ALPHA, BETA = np.float32(1.5), np.float32(0.5)


def gemm(
    m: int = 4096,
    n: int = 4096,
    k: int = 4096,
    *,
    space: SearchSpace | None = None,
    device: Device = Device(),  # noqa: B008 - frozen
    policy: TimingPolicy = TimingPolicy(),  # noqa: B008 - frozen
) -> OpenCLKernel:
    """Return the matrix multiplication of Table A.1, as OpenCL C.

    ``c = 1.5 * b.T @ a + 0.5 * c`` for ``a`` of k x m, ``b`` of k x n and ``c`` of n x m elements,
    in single precision.

    Args:
        m: Columns of a; a multiple of the largest MWG.
        n: Columns of b; a multiple of the largest NWG.
        k: Rows of both; a multiple of KWG.
        space: The configurations; by default those of Table A.1.
        device: Which device, and how to compile for it.
        policy: How often to repeat, and when to give up.

    Raises:
        ConfigError: A size is not a multiple of its tile.
    """
    at_least("gemm", 1, m=m, n=n, k=k)
    space = space or paper_space("gemm")
    lists = dict(zip(space.names, space.values, strict=True))
    lists["KWG"] = (space.constants["KWG"],)
    for name, size, tile in (("m", m, "MWG"), ("n", n, "NWG"), ("k", k, "KWG")):
        largest = max(int(value) for value in lists[tile])
        if size % largest:
            raise ConfigError(f"gemm: {name}={size} was given; a multiple of {largest} is wanted")
    rng = np.random.default_rng(0)
    a, b, c = (rng.random(shape, dtype=np.float32) for shape in ((k, m), (k, n), (n, m)))

    def grid(given: dict[str, Any]) -> tuple[int, int]:
        return m // given["MWG"], n // given["NWG"]

    sizes = (np.int32(m), np.int32(n), np.int32(k))
    return OpenCLKernel(
        source_of("gemm"),
        "gemm",
        (*sizes, ALPHA, BETA, a, b, c),
        grid=grid,
        space=space,
        expected=Expected((None, None, None, None, None, None, None, gemm_reference(a, b, c))),
        device=Device(device.number, device.platform, device.options, ("MDIMC", "NDIMC")),
        policy=policy,
    )


def gemm_reference(
    a: Float32[np.ndarray, "k m"],
    b: Float32[np.ndarray, "k n"],
    c: Float32[np.ndarray, "n m"],
) -> Float32[np.ndarray, "n m"]:
    """Return ``1.5 * b.T @ a + 0.5 * c``, in double precision."""
    product = b.T.astype(np.float64) @ a.astype(np.float64)
    return np.asarray(float(ALPHA) * product + float(BETA) * c, dtype=np.float32)
