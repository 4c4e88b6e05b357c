"""Running networks: a plan for the kernels, modules that execute it, and timing."""

from leanline.runtime.benchmark import Timing, TimingTable, benchmark
from leanline.runtime.compile import compile, trainable
from leanline.runtime.network import PlaneNetwork
from leanline.runtime.plan import plan_planes

__all__ = [
    "PlaneNetwork",
    "Timing",
    "TimingTable",
    "benchmark",
    "compile",
    "plan_planes",
    "trainable",
]
