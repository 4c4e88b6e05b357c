"""Kernels in Python: any function that makes a function to call."""

from __future__ import annotations

import inspect
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from leanline.records.processor import processor_name
from leanline.tuning.measuring.bench import Bench, Expected, Launch, fingerprint
from leanline.tuning.measuring.isolated import Isolated
from leanline.tuning.measuring.sampled import MeasuredKernel
from leanline.tuning.measuring.timing import TimingPolicy
from leanline.tuning.space import Configuration, SearchSpace

Build = Callable[[dict[str, Any]], Callable[[], Any]]
"""Gets a configuration and returns what runs it: a function without arguments that returns the
output, or outputs."""


class PythonKernel(MeasuredKernel):
    """Any Python callable, run in a process of its own.

    ```python
    def build(given):  # in a module, or a script's top level
        return lambda: matrix_product(a, b, tile=given["tile"])

    kernel = PythonKernel(build, SearchSpace({"tile": [8, 16, 32]}), Expected((a @ b,)))
    ```
    """

    def __init__(
        self,
        build: Build,
        space: SearchSpace,
        expected: Expected | None = None,
        *,
        name: str = "",
        policy: TimingPolicy = TimingPolicy(),  # noqa: B008 - frozen
    ) -> None:
        """Describe it.

        Args:
            build: Called with a configuration, in the other process. What it raises says that the
                configuration does not compile; what it returns is called without arguments, and
                timed by the clock.
            space: The configurations.
            expected: What it has to compute: one reference for each array of a tuple that is
                returned, or the only one. Without it nothing is checked.
            name: What tables call it.
            policy: How often to repeat, and when to give up.
        """
        label = name or getattr(build, "__name__", "kernel")
        super().__init__(Isolated(_OpenPython(build), expected, policy), policy, space, label)

    def order(self, configuration: Configuration) -> dict[str, Any]:
        """What is asked for: the configuration."""
        return dict(configuration)


@dataclass(frozen=True)
class _OpenPython:
    build: Build

    def __call__(self) -> Bench:
        return _PythonBench(self.build)


class _PythonBench(Bench):
    def __init__(self, build: Build) -> None:
        self._build = build

    @property
    def about(self) -> Mapping[str, str]:
        """The processor and Python; of the kernel, the source of the function that builds it."""
        return {
            "device": processor_name(),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "kernel_sha256": fingerprint((_source(self._build),), ()),
        }

    def compile(self, order: dict[str, Any]) -> Launch:
        """Make the function for a configuration."""
        return _PythonLaunch(self._build(dict(order)))


def _source(build: Any) -> str:
    """The text of a function, or of a callable object's class; empty where there is none."""
    function = getattr(build, "func", build)  # of a functools.partial
    try:
        return inspect.getsource(function if inspect.isroutine(function) else type(function))
    except (OSError, TypeError):
        return ""


class _PythonLaunch(Launch):
    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function

    def outputs(self) -> Sequence[Any]:
        """Call it once."""
        returned = self._function()
        return returned if isinstance(returned, tuple | list) else (returned,)

    def time(self) -> float:
        """Call it once; milliseconds by the clock."""
        begin = time.perf_counter()
        self._function()
        return (time.perf_counter() - begin) * 1e3
