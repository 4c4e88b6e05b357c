"""Running networks: a plan for the kernels, modules that execute it, and timing."""

from leanline.runtime.benchmark import Timing, TimingTable, benchmark
from leanline.runtime.compile import compile, trainable
from leanline.runtime.fastest_training import fastest_training
from leanline.runtime.onnx_network import OnnxNetwork

__all__ = [
    "OnnxNetwork",
    "Timing",
    "TimingTable",
    "benchmark",
    "compile",
    "fastest_training",
    "trainable",
]
