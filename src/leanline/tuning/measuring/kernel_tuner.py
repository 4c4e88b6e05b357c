"""OpenCL and CUDA kernels: compiled and launched by Kernel Tuner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from leanline.errors import RunError
from leanline.tuning.measuring.bench import Bench, Launch, fingerprint


@dataclass(frozen=True)
class KernelOrder:
    """A configuration to compile.

    Attributes:
        defines: What the source is compiled with, name to value.
        threads: Work-items of a work-group (threads of a block).
        grid: Work-groups (blocks).
    """

    defines: Mapping[str, Any]
    threads: tuple[int, int, int]
    grid: tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class OpenKernelTuner:
    """Opens a device through Kernel Tuner.

    Attributes:
        language: ``OpenCL`` or ``CUDA``.
        source: The kernel's source.
        name: The kernel's name in it.
        arguments: Arrays and NumPy scalars.
        device: Number of the device.
        platform: Number of the OpenCL platform.
        options: For the compiler.
    """

    language: str
    source: str
    name: str
    arguments: Sequence[Any]
    device: int = 0
    platform: int = 0
    options: tuple[str, ...] = ()
    preload: ClassVar[tuple[str, ...]] = ("kernel_tuner.core",)

    def __call__(self) -> Bench:
        """Open it.

        Raises:
            RunError: Kernel Tuner, what it needs, or the device is missing.
        """
        try:
            from kernel_tuner import core
        except ImportError as error:
            raise RunError("needs Kernel Tuner: pip install leanline[tune]") from error
        if self.language == "OpenCL":
            _check_opencl(self.platform, self.device)
        source = core.KernelSource(self.name, self.source, self.language)
        interface = core.DeviceInterface(
            source,
            device=self.device,
            platform=self.platform,
            quiet=True,
            compiler_options=list(self.options),
            iterations=1,
        )
        return _KernelTunerBench(self, source, interface)


def _check_opencl(platform: int, device: int) -> None:
    try:
        import pyopencl
    except ImportError as error:
        raise RunError("needs PyOpenCL: pip install leanline[tune]") from error
    try:
        platforms = pyopencl.get_platforms()
    except pyopencl.Error:
        platforms = []
    if not platforms:
        raise RunError(
            "there is no OpenCL platform; install your device's driver, or Debian's "
            "pocl-opencl-icd for the CPU"
        )
    listed = [[each.name for each in one.get_devices()] for one in platforms]
    if platform >= len(listed) or device >= len(listed[platform]):
        there = ", ".join(
            f"{of}:{at} {name}" for of, names in enumerate(listed) for at, name in enumerate(names)
        )
        raise RunError(
            f"there is no OpenCL device {platform}:{device} (platform:device); there are {there}"
        )


class _KernelTunerBench(Bench):
    def __init__(self, recipe: OpenKernelTuner, source: Any, interface: Any) -> None:
        self._recipe, self._source, self._interface = recipe, source, interface
        self._memory = interface.ready_argument_list(list(recipe.arguments))

    @property
    def about(self) -> Mapping[str, str]:
        """The device and the versions of what drives it."""
        import kernel_tuner

        known = self._interface.get_environment()
        kept = {
            name: str(known[name])
            for name in ("platform_name", "platform_version", "driver_version", "cuda_version")
            if name in known
        }
        about = {"device": str(self._interface.name).strip(), **kept}
        recipe = self._recipe
        text = (recipe.name, recipe.source, *recipe.options)
        return {
            **about,
            "kernel_tuner": str(kernel_tuner.__version__),
            "kernel_sha256": fingerprint(text, recipe.arguments),
        }

    def compile(self, order: KernelOrder) -> Launch:
        """Compile a configuration."""
        from kernel_tuner import core, util

        defines = {
            name: int(value) if isinstance(value, bool) else value
            for name, value in order.defines.items()
        }
        name, text = util.prepare_kernel_string(
            self._recipe.name,
            self._recipe.source,
            defines,
            order.grid,
            order.threads,
            list(util.default_block_size_names),
            self._recipe.language,
            None,
        )
        instance = core.KernelInstance(
            name,
            self._source,
            text,
            {},
            order.threads,
            order.grid,
            defines,
            list(self._recipe.arguments),
        )
        function = self._interface.dev.compile(instance)
        return _KernelTunerLaunch(
            self._interface, function, self._memory, self._recipe.arguments, order
        )


class _KernelTunerLaunch(Launch):
    def __init__(
        self,
        interface: Any,
        function: Any,
        memory: Sequence[Any],
        arguments: Sequence[Any],
        order: KernelOrder,
    ) -> None:
        self._interface, self._function, self._memory = interface, function, memory
        self._arguments, self._order = arguments, order

    def outputs(self) -> list[Any]:
        """Run it once on fresh inputs; the arrays after that, None for scalars."""
        device, order = self._interface.dev, self._order
        # all of them: an earlier configuration may have written where it should not
        arrays = [isinstance(each, np.ndarray) for each in self._arguments]
        device.refresh_memory(self._memory, self._arguments, arrays)
        device.run_kernel(self._function, self._memory, order.threads, order.grid)
        device.synchronize()
        outputs: list[Any] = []
        for is_array, argument, memory in zip(arrays, self._arguments, self._memory, strict=True):
            outputs.append(np.empty_like(argument) if is_array else None)
            if is_array:
                device.memcpy_dtoh(outputs[-1], memory)
        return outputs

    def time(self) -> float:
        """Run it once; the device's own time, ms."""
        result: dict[str, Any] = {}
        order = self._order
        self._interface.benchmark_default(
            self._function, self._memory, order.threads, order.grid, result
        )
        return float(result["time"])
