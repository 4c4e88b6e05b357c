"""Kernels for tests of real measurements: some of their configurations fail, in every way.

The process that measures imports this module by its name.
"""

import ctypes
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leanline import tuning
from leanline.tuning.measuring.isolated import Isolated

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None

N = 64
IMAGE = np.arange(N, dtype=np.float32)
QUICK = tuning.TimingPolicy(least=3, most=3, seconds=0.2, rounds=3, leaders=2)
IMPATIENT = tuning.TimingPolicy(
    least=3, most=3, seconds=0.2, rounds=3, leaders=2, compile_limit=60, run_limit=5
)

WAYS = ("compile", "runtime", "correctness", "timeout", "crash", "exit")
"""How configurations fail."""

FAILURES = {way: "crash" if way == "exit" else way for way in WAYS}
"""What is recorded of each."""


def fail(way: str) -> Any:
    """What a run of a failing configuration does."""
    if way == "runtime":
        raise RuntimeError("out of resources")
    if way == "timeout":
        time.sleep(1000)
    if way == "crash":
        ctypes.string_at(0)
    if way == "exit":
        os._exit(0)
    return IMAGE + (1 if way == "correctness" else 0)


# any Python callable


def build(given):
    if given["way"] == "compile":
        raise ValueError("no such instruction")
    return lambda: fail(given["way"])


def python_kernel(ways):
    space = tuning.SearchSpace({"way": ["fine", *ways], "size": [1, 2]})
    return tuning.PythonKernel(build, space, tuning.Expected((IMAGE,)), policy=IMPATIENT)


# OpenCL and CUDA

OPENCL = """
__kernel void scale(__global float *output, __global const float *image) {
    const int at = get_global_id(0);
#if WAY == 1
    #error no such instruction
#elif WAY == 3
    output[at] = image[at] + 1.0f;
#elif WAY == 4
    volatile int turning = 1;
    while (turning) {}
#elif WAY == 5
    *(volatile __global float *)(16 * (size_t)get_local_id(0)) = 1.0f;
#endif
#if WAY != 3
    if (at < 64) output[at] = 2.0f * image[at];
#endif
}
"""

CUDA = """
extern "C" __global__ void scale(float *output, const float *image) {
    const int at = blockIdx.x * blockDim.x + threadIdx.x;
#if WAY == 1
    #error no such instruction
#elif WAY == 3
    if (at < 64) output[at] = image[at] + 1.0f;
#elif WAY == 4
    volatile int turning = 1;
    while (turning) {}
#elif WAY == 5
    *(volatile float *)16 = 1.0f;
#endif
#if WAY != 3
    if (at < 64) output[at] = 2.0f * image[at];
#endif
}
"""

NUMBERED = {"fine": 0, "compile": 1, "runtime": 2, "correctness": 3, "timeout": 4, "crash": 5}


def source_kernel(kind, source, ways):
    numbers = [0, *(NUMBERED[way] for way in ways)]
    space = tuning.SearchSpace({"WAY": numbers, "block_size_x": [16, 32, 64, 1 << 20]})
    return kind(
        source,
        "scale",
        (np.zeros(N, np.float32), IMAGE),
        grid=lambda given: [max(1, N // given["block_size_x"])],
        space=space,
        expected=tuning.Expected((2 * IMAGE, None)),
        policy=IMPATIENT,
    )


def needs_opencl():
    """Skip where there is no OpenCL device, or what drives it is not installed."""
    pytest.importorskip("kernel_tuner", reason="needs Kernel Tuner: leanline[tune]")
    cl = pytest.importorskip("pyopencl", reason="needs PyOpenCL: leanline[tune]")
    try:
        found = cl.get_platforms()
    except cl.Error:
        found = []
    if not found:
        pytest.skip("there is no OpenCL platform; Debian's pocl-opencl-icd is one for the CPU")


def needs_cuda():
    """Skip where there is no NVIDIA GPU, or nothing to compile CUDA C++ with."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("there is no NVIDIA GPU")
    pytest.importorskip("kernel_tuner", reason="needs Kernel Tuner: leanline[tune]")
    pytest.importorskip("cuda.bindings", reason="needs cuda-python")


# Triton; interpreted where there is no GPU

if triton is not None:

    @triton.jit
    def doubled(output, image, BLOCK: tl.constexpr, WRONG: tl.constexpr):  # noqa: N803
        at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        tl.store(output + at, tl.load(image + at) * 2 + WRONG)


def triton_kernel(ways):
    wrong = [0, 1] if "correctness" in ways else [0]
    return tuning.TritonKernel(
        doubled,
        (np.zeros(N, np.float32), IMAGE),
        grid=lambda given: [N // given["BLOCK"]],
        space=tuning.SearchSpace({"BLOCK": [16, 32, 48], "WRONG": wrong}),
        expected=tuning.Expected((2 * IMAGE, None)),
        policy=QUICK,
    )


# times that are known, in the other process too


class KnownBench(tuning.Bench):
    @property
    def about(self) -> Mapping[str, str]:
        return {"device": "made-up device"}

    def compile(self, order):
        if order["way"] == "compile":
            raise ValueError("no such instruction")
        return KnownLaunch(order)


class KnownLaunch(tuning.Launch):
    def __init__(self, order):
        self.given = order

    def outputs(self):
        return (fail(self.given["way"]),)

    def time(self):
        return self.given["ms"]


class KnownKernel(tuning.MeasuredKernel):
    """A fifth of its configurations fail, in every way; the others have times that are known."""

    def __init__(self, policy=IMPATIENT):
        space = tuning.SearchSpace({"a": [1, 2, 3, 4], "b": [1, 2, 3, 4, 5], "c": [0, 1, 2]})
        isolated = Isolated(KnownBench, tuning.Expected((IMAGE,)), policy)
        super().__init__(isolated, policy, space, "known")
        rng = np.random.default_rng(0)
        codes = rng.permutation(space.cartesian_size)
        self.ways = {int(code): WAYS[at % 6] for at, code in enumerate(codes[:12])}
        self.ms = {code: 1.0 + float(rng.random()) for code in range(space.cartesian_size)}

    def order(self, configuration):
        code = self.space.encode(configuration)
        return {"way": self.ways.get(code, "fine"), "ms": self.ms[code]}

    @property
    def best(self):
        return min((c for c in self.ms if c not in self.ways), key=self.ms.__getitem__)


# for `leanline tune`: in the same process


def known_time(given):
    return 1.0 + ((given["a"] * 37 + given["b"] * 11 + given["c"] * 5) % 101) / 101


def in_process(delay: float = 0.0):
    """Times that are known, of which some fail; each takes a while.

    If the environment names a file in LEANLINE_TEST_BEGUN, a byte is added to it for each.
    """

    def measure(given):
        if "LEANLINE_TEST_BEGUN" in os.environ:
            with Path(os.environ["LEANLINE_TEST_BEGUN"]).open("ab") as begun:
                begun.write(b".")
        time.sleep(delay)
        if given["a"] == given["b"]:
            raise RuntimeError("out of resources")
        return known_time(given)

    space = tuning.SearchSpace({"a": list(range(8)), "b": list(range(8)), "c": [0, 1, 2]})
    return tuning.Callable(measure, space, "in_process")


def misnamed():
    """Another kernel than `in_process`, with another space."""
    return tuning.Callable(known_time, tuning.SearchSpace({"d": [1, 2]}), "misnamed")
