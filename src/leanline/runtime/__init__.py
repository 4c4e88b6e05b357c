"""Running networks: a plan for the kernels, modules that execute it, and timing."""

from leanline.runtime.benchmark import Timing, TimingTable, benchmark
from leanline.runtime.compile import compile, trainable

__all__ = ["Timing", "TimingTable", "benchmark", "compile", "trainable"]
