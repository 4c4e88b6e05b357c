"""Kernels by the names that the command line uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from leanline.errors import ConfigError
from leanline.records.factories import import_factory
from leanline.records.settings import accepts, call_with_settings, nearest, with_defaults
from leanline.tuning.kernels.convolution import convolution
from leanline.tuning.kernels.gemm import gemm
from leanline.tuning.kernels.point_in_polygon import point_in_polygon
from leanline.tuning.kernels.source import restricted
from leanline.tuning.measuring.gpu_kernels import Device
from leanline.tuning.measuring.timing import TimingPolicy
from leanline.tuning.objectives import Objective
from leanline.tuning.paper_spaces import paper_space
from leanline.tuning.space import SearchSpace, Value

KERNELS: dict[str, tuple[Callable[..., Objective], tuple[str, ...]]] = {
    "convolution": (convolution, ("width", "height", "filter_size")),
    "gemm": (gemm, ("m", "n", "k")),
    "point-in-polygon": (point_in_polygon, ("points", "vertices")),
}
"""The kernels of Table A.1, each with the names of its sizes; their spaces have the same names."""


@dataclass(frozen=True)
class KernelChoice:
    """A kernel as users name it.

    Attributes:
        name: A name of `KERNELS`, or "package.module:factory" for one of the user's own, which
            returns an `Objective`; that **runs the module's code**.
        settings: Sizes; what the factory is called with. Values or text.
        values: Parameters with shorter lists of values. Only for kernels of `KERNELS`.
        device: Which device.
        policy: How often to repeat. A factory that takes `device` or `policy` is given them.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    device: Device = field(default_factory=Device)
    policy: TimingPolicy = field(default_factory=TimingPolicy)

    def make(self) -> tuple[Objective, dict[str, Any]]:
        """Make it.

        Returns:
            The kernel, and its settings as far as they are known.

        Raises:
            ConfigError: An unknown name, setting, parameter or value, or what the factory raises.
        """
        if ":" in self.name:
            return self._own()
        if self.name not in KERNELS:
            raise ConfigError(
                f"there is no kernel {self.name!r}{nearest(self.name, KERNELS)}; there are "
                f"{', '.join(KERNELS)}, and package.module:factory for your own"
            )
        factory, sizes = KERNELS[self.name]
        space = restricted(paper_space(self.name), self.values)
        unknown = [name for name in self.settings if name not in sizes]
        if unknown:
            raise ConfigError(
                f"kernel {self.name} has no setting {unknown[0]!r}{nearest(unknown[0], sizes)}; it "
                f"has {', '.join(sizes)}"
            )
        given = with_defaults(factory, self.settings, sizes, f"kernel {self.name}")
        return factory(**given, space=space, device=self.device, policy=self.policy), given

    def _own(self) -> tuple[Objective, dict[str, Any]]:
        owner = f"kernel {self.name!r}"
        if self.values:
            raise ConfigError(f"{owner} has a space of its own: shorten the lists of values there")
        factory = import_factory(self.name, owner)
        given = {"device": self.device, "policy": self.policy}
        taken = {name: value for name, value in given.items() if accepts(factory, name)}
        lost = [name for name in given if name not in taken and given[name] != type(given[name])()]
        if lost:
            raise ConfigError(
                f"{owner} takes no {lost[0]!r}, so that {given[lost[0]]} would be ignored; give "
                f"the function a parameter `{lost[0]}` and hand it to the kernel"
            )
        kernel = call_with_settings(factory, {**self.settings, **taken}, owner)
        if not isinstance(kernel, Objective):
            raise ConfigError(
                f"{owner} returned a {type(kernel).__name__}; OpenCLKernel, CudaKernel, "
                "TritonKernel, PythonKernel or Callable of leanline.tuning is wanted"
            )
        return kernel, {"factory": self.name, **self.settings}


def read_values(space: SearchSpace, name: str, text: str) -> tuple[Value, ...]:
    """Read values of a parameter from text, as a comma-separated list.

    Raises:
        ConfigError: The parameter is unknown, or has no such value.
    """
    lists = dict(zip(space.names, space.values, strict=True))
    if name not in lists:
        raise ConfigError(
            f"there is no parameter {name!r}{nearest(name, lists)}; there are {', '.join(lists)}"
        )
    known = {str(value): value for value in lists[name]}
    words = [word.strip() for word in text.split(",")]
    unknown = [word for word in words if word not in known]
    if unknown:
        raise ConfigError(f"{name} has no value {unknown[0]!r}; it has {', '.join(known)}")
    return tuple(known[word] for word in words)
