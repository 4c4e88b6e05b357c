"""What a backend is: in the process that measures, it compiles configurations and launches them."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from leanline.errors import ConfigError


class WrongOutput(Exception):  # noqa: N818 - it is about the kernel, no error of ours
    """A configuration computes something else than the reference."""


class Launch(ABC):
    """A compiled configuration."""

    @abstractmethod
    def outputs(self) -> Sequence[Any]:
        """Run it once on fresh inputs; return what it computed, an array a place or None."""

    @abstractmethod
    def time(self) -> float:
        """Run it once; return how long that took, ms."""


class Bench(ABC):
    """A device, ready to compile."""

    @property
    @abstractmethod
    def about(self) -> Mapping[str, str]:
        """The device and the versions of what drives it; ``device`` is its name."""

    @abstractmethod
    def compile(self, order: Any) -> Launch:
        """Compile a configuration; whatever it raises says that it does not compile.

        Args:
            order: What the kernel's `order` made of the configuration.
        """


def fingerprint(text: Sequence[str], arguments: Sequence[Any]) -> str:
    """What tells a kernel from others: a checksum of its text, and of its arguments.

    Of arrays their shape and type count, not their values.
    """
    digest = hashlib.sha256()
    for each in text:
        digest.update(each.encode() + b"\0")
    for argument in arguments:
        is_array = isinstance(argument, np.ndarray)
        told = f"{argument.dtype} {argument.shape}" if is_array else repr(argument)
        digest.update(told.encode() + b"\0")
    return digest.hexdigest()


Opener: TypeAlias = Callable[[], Bench]
"""Opens the device; called in the process that measures, to which it is sent."""


@dataclass(frozen=True, eq=False)
class Expected:
    """What a kernel has to compute.

    Attributes:
        outputs: The reference of each argument (or of each array that a Python kernel returns);
            None where it is not looked at.
        rtol: Relative error that passes.
        atol: Absolute error that passes.
    """

    outputs: Sequence[Any]
    rtol: float = 1e-4
    atol: float = 1e-5

    def __post_init__(self) -> None:
        """Check it; raises ConfigError."""
        if all(each is None for each in self.outputs):
            raise ConfigError(
                "Expected(outputs=...) has no array: give the reference of at least one output"
            )

    def check(self, outputs: Sequence[Any]) -> None:
        """Compare; raises WrongOutput, which says how far off the output is."""
        if len(outputs) != len(self.outputs):
            raise WrongOutput(f"{len(outputs)} outputs; {len(self.outputs)} are expected")
        for at, (given, wanted) in enumerate(zip(outputs, self.outputs, strict=True)):
            if wanted is None:
                continue
            found, reference = np.asarray(given), np.asarray(wanted)
            if found.shape != reference.shape:
                raise WrongOutput(
                    f"output {at} has the shape {found.shape}; {reference.shape} is expected"
                )
            close = np.isclose(found, reference, rtol=self.rtol, atol=self.atol, equal_nan=True)
            if not close.all():
                first = tuple(int(n) for n in np.argwhere(~close)[0])
                raise WrongOutput(
                    f"output {at} differs in {int((~close).sum()):,} of {close.size:,} values; the "
                    f"first is {found[first]} at {first}, where {reference[first]} is expected"
                )
