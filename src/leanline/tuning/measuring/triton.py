"""Kernels in Triton."""

from __future__ import annotations

import importlib
import inspect
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from leanline.errors import ConfigError, RunError
from leanline.tuning.measuring.bench import Bench, Expected, Launch, fingerprint
from leanline.tuning.measuring.gpu_kernels import Grid, three
from leanline.tuning.measuring.isolated import Isolated
from leanline.tuning.measuring.kernel_tuner import KernelOrder
from leanline.tuning.measuring.sampled import MeasuredKernel
from leanline.tuning.measuring.timing import TimingPolicy
from leanline.tuning.space import Configuration, SearchSpace


class TritonKernel(MeasuredKernel):
    """A function with ``@triton.jit``.

    Parameters and constants of the space are given to it by their names, ``num_warps`` and
    ``num_stages`` among them if the space has them.
    """

    def __init__(
        self,
        function: Any,
        arguments: Sequence[Any],
        *,
        grid: Grid,
        space: SearchSpace,
        expected: Expected | None = None,
        policy: TimingPolicy = TimingPolicy(),  # noqa: B008 - frozen
    ) -> None:
        """Describe it; the GPU is opened when it is first measured.

        Args:
            function: The function, found in its module by its name.
            arguments: What it is called with, in order: arrays, which are copied to the GPU, and
                numbers. Each configuration starts from these values.
            grid: Numbers of programs.
            space: The configurations.
            expected: What it has to compute: a reference for each argument, or None.
            policy: How often to repeat, and when to give up.

        Raises:
            ConfigError: It is no Triton function, or `expected` does not fit.
        """
        inner = getattr(function, "fn", None)
        if inner is None or not hasattr(inner, "__qualname__"):
            raise ConfigError(
                f"{function!r} is a {type(function).__name__}; "
                "a function with @triton.jit is wanted"
            )
        if expected is not None and len(expected.outputs) != len(arguments):
            raise ConfigError(
                f"{inner.__name__} has {len(arguments)} arguments and Expected has "
                f"{len(expected.outputs)} outputs: give one for each, None where none is looked at"
            )
        self._grid = grid
        opener = _OpenTriton(inner.__module__, inner.__qualname__, tuple(arguments))
        super().__init__(Isolated(opener, expected, policy), policy, space, inner.__name__)

    def order(self, configuration: Configuration) -> KernelOrder:
        """What is asked for: the configuration and the number of programs."""
        given = dict(configuration)
        grid = self._grid(given) if callable(self._grid) else self._grid
        return KernelOrder(given, (1, 1, 1), three(grid, "programs"))


@dataclass(frozen=True, eq=False)
class _OpenTriton:
    module: str
    function: str
    arguments: Sequence[Any]
    preload: ClassVar[tuple[str, ...]] = ("triton",)

    def __call__(self) -> Bench:
        try:
            import torch
            import triton
        except ImportError as error:
            raise RunError("needs Triton: pip install leanline[gpu]") from error
        found: Any = importlib.import_module(self.module)
        for name in self.function.split("."):
            found = getattr(found, name)
        if torch.cuda.is_available():
            return _TritonBench(found, self.arguments, "cuda", torch.cuda.get_device_name())
        if isinstance(found, triton.JITFunction):
            raise RunError("there is no GPU for Triton, and TRITON_INTERPRET=1 is not set")
        return _TritonBench(found, self.arguments, "cpu", "Triton's interpreter")


class _TritonBench(Bench):
    def __init__(self, function: Any, arguments: Sequence[Any], place: str, device: str) -> None:
        import torch

        self._function, self._given, self._device = function, arguments, device
        self.is_gpu = place == "cuda"
        self.arguments = [
            torch.from_numpy(each.copy()).to(place) if isinstance(each, np.ndarray) else each
            for each in arguments
        ]

    @property
    def about(self) -> Mapping[str, str]:
        """The GPU, PyTorch and Triton."""
        import torch
        import triton

        return {
            "device": self._device,
            "torch": str(torch.__version__),
            "triton": str(triton.__version__),
            "kernel_sha256": fingerprint((inspect.getsource(self._function.fn),), self._given),
        }

    def compile(self, order: KernelOrder) -> Launch:
        """Compile a configuration."""
        if self.is_gpu:
            self._function.warmup(*self.arguments, grid=order.grid, **order.defines)
        return _TritonLaunch(self, self._function, order)

    def refresh(self) -> None:
        """Copy the arguments anew: an earlier run may have written to any of them."""
        import torch

        for given, tensor in zip(self._given, self.arguments, strict=True):
            if isinstance(given, np.ndarray):
                tensor.copy_(torch.from_numpy(given))


class _TritonLaunch(Launch):
    def __init__(self, bench: _TritonBench, function: Any, order: KernelOrder) -> None:
        self._bench, self._function, self._order = bench, function, order

    def outputs(self) -> Sequence[Any]:
        """Run it once on fresh inputs; the arrays after that, None for numbers."""
        self._bench.refresh()
        self._run()
        return [
            each.cpu().numpy() if hasattr(each, "cpu") else None for each in self._bench.arguments
        ]

    def time(self) -> float:
        """Run it once; the GPU's own time, ms."""
        if not self._bench.is_gpu:
            begin = time.perf_counter()
            self._run()
            return (time.perf_counter() - begin) * 1e3
        import torch

        event: Any = torch.cuda.Event
        start, end = event(enable_timing=True), event(enable_timing=True)
        torch.cuda.synchronize()
        start.record()
        self._run()
        end.record()
        torch.cuda.synchronize()
        return float(start.elapsed_time(end))

    def _run(self) -> None:
        self._function[self._order.grid](*self._bench.arguments, **self._order.defines)
