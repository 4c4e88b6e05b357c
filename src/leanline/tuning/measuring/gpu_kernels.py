"""Kernels in OpenCL C and CUDA C++."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from leanline.errors import ConfigError
from leanline.tuning.measuring.bench import Expected
from leanline.tuning.measuring.isolated import Isolated
from leanline.tuning.measuring.kernel_tuner import KernelOrder, OpenKernelTuner
from leanline.tuning.measuring.sampled import MeasuredKernel
from leanline.tuning.measuring.timing import TimingPolicy
from leanline.tuning.space import Configuration, SearchSpace

Grid: TypeAlias = Sequence[int] | Callable[[dict[str, Any]], Sequence[int]]
"""Numbers of work-groups (blocks) in up to three dimensions, or a function of the configuration
that returns them."""

BLOCK = ("block_size_x", "block_size_y", "block_size_z")


@dataclass(frozen=True)
class Device:
    """Which device, and how to compile for it.

    Attributes:
        number: Number of the device, of the platform's with OpenCL.
        platform: Number of the OpenCL platform.
        options: For the compiler.
        block: Parameters that hold the numbers of work-items of a work-group (threads of a block);
            those that a space does not have are 1.
    """

    number: int = 0
    platform: int = 0
    options: tuple[str, ...] = ()
    block: tuple[str, ...] = BLOCK


class _SourceKernel(MeasuredKernel):
    def __init__(
        self,
        source: str | Path,
        name: str,
        arguments: Sequence[Any],
        *,
        grid: Grid,
        space: SearchSpace,
        expected: Expected | None,
        device: Device,
        policy: TimingPolicy,
    ) -> None:
        text = source.read_text(encoding="utf-8") if isinstance(source, Path) else source
        for at, each in enumerate(arguments):
            if not isinstance(each, np.ndarray | np.generic):
                raise ConfigError(
                    f"argument {at} of kernel {name} is a {type(each).__name__}; arrays and NumPy "
                    "scalars (numpy.int32(7)) can be"
                )
        if expected is not None and len(expected.outputs) != len(arguments):
            raise ConfigError(
                f"kernel {name} has {len(arguments)} arguments and Expected has "
                f"{len(expected.outputs)} outputs: give one for each, None where none is looked at"
            )
        self._grid, self._block = grid, device.block
        opener = OpenKernelTuner(
            self.language,
            text,
            name,
            tuple(arguments),
            device=device.number,
            platform=device.platform,
            options=device.options,
        )
        super().__init__(Isolated(opener, expected, policy), policy, space, name)

    @property
    @abstractmethod
    def language(self) -> str:
        """What the source is written in, in Kernel Tuner's words."""

    def order(self, configuration: Configuration) -> KernelOrder:
        """What the device is asked to compile for a configuration (with the constants)."""
        given = dict(configuration)
        grid = self._grid(given) if callable(self._grid) else self._grid
        threads = [int(given.get(name, 1)) for name in self._block]
        return KernelOrder(given, three(threads, "work-items"), three(grid, "work-groups"))


class OpenCLKernel(_SourceKernel):
    """A kernel in OpenCL C.

    Parameters and constants of the space are defined for the preprocessor, by their names.

    ```python
    kernel = OpenCLKernel(
        source, "scale", (output, image, numpy.int32(n)),
        grid=lambda given: [-(-n // given["block_size_x"])],
        space=SearchSpace({"block_size_x": [32, 64, 128]}),
        expected=Expected((2 * image, None, None)),
    )
    ```
    """

    def __init__(
        self,
        source: str | Path,
        name: str,
        arguments: Sequence[Any],
        *,
        grid: Grid,
        space: SearchSpace,
        expected: Expected | None = None,
        device: Device = Device(),
        policy: TimingPolicy = TimingPolicy(),  # noqa: B008 - frozen
    ) -> None:
        """Describe it; the device is opened when it is first measured.

        Args:
            source: The source, or the file that holds it.
            name: The kernel's name in the source.
            arguments: What it is called with, in order: arrays and NumPy scalars. Each
                configuration starts from these values.
            grid: Numbers of work-groups.
            space: The configurations.
            expected: What it has to compute; without it nothing is checked.
            device: Which device, and how to compile for it.
            policy: How often to repeat, and when to give up.

        Raises:
            ConfigError: An argument is no array or NumPy scalar, or `expected` does not fit.
        """
        super().__init__(
            source,
            name,
            arguments,
            grid=grid,
            space=space,
            expected=expected,
            device=device,
            policy=policy,
        )

    @property
    def language(self) -> str:
        """What the source is written in."""
        return "OpenCL"


class CudaKernel(_SourceKernel):
    """A kernel in CUDA C++; needs Kernel Tuner with ``cuda-python``, CuPy or PyCUDA.

    As `OpenCLKernel`, with blocks of threads in place of work-groups of work-items.
    """

    def __init__(
        self,
        source: str | Path,
        name: str,
        arguments: Sequence[Any],
        *,
        grid: Grid,
        space: SearchSpace,
        expected: Expected | None = None,
        device: Device = Device(),
        policy: TimingPolicy = TimingPolicy(),  # noqa: B008 - frozen
    ) -> None:
        """Describe it; see `OpenCLKernel`.

        Args:
            source: The source, or the file that holds it.
            name: The kernel's name in the source (``extern "C"``, or a template with arguments).
            arguments: What it is called with: arrays and NumPy scalars.
            grid: Numbers of blocks.
            space: The configurations.
            expected: What it has to compute.
            device: Which device, and how to compile for it.
            policy: How often to repeat, and when to give up.

        Raises:
            ConfigError: An argument is no array or NumPy scalar, or `expected` does not fit.
        """
        super().__init__(
            source,
            name,
            arguments,
            grid=grid,
            space=space,
            expected=expected,
            device=device,
            policy=policy,
        )

    @property
    def language(self) -> str:
        """What the source is written in."""
        return "CUDA"


def three(numbers: Any, what: str) -> tuple[int, int, int]:
    """One to three numbers above 0 as three, or ConfigError."""
    listed = [int(number) for number in numbers]
    if not 1 <= len(listed) <= 3 or min(listed) < 1:
        raise ConfigError(f"{listed} {what} were given; one to three numbers above 0 are wanted")
    listed += [1] * (3 - len(listed))
    return listed[0], listed[1], listed[2]
