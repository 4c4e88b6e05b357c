"""The sources that come with leanline, and what is defined for them beside the parameters."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

from leanline.errors import ConfigError
from leanline.tuning.space import SearchSpace, Value


def source_of(name: str) -> str:
    """Return the OpenCL C source of a kernel."""
    return resources.files(__package__).joinpath(f"{name}.cl").read_text(encoding="utf-8")


def with_constants(space: SearchSpace, constants: Mapping[str, Value]) -> SearchSpace:
    """Return the space with more constants, which the kernel's source can name."""
    return SearchSpace(
        dict(zip(space.names, space.values, strict=True)),
        space.constraints,
        {**space.constants, **constants},
    )


def restricted(space: SearchSpace, values: Mapping[str, tuple[Value, ...]]) -> SearchSpace:
    """Return the space with shorter lists of values.

    Args:
        space: The space.
        values: Parameter to the values that stay; the other parameters keep theirs.

    Raises:
        ConfigError: A parameter is unknown, or a value is not in its list.
    """
    lists = dict(zip(space.names, space.values, strict=True))
    for name, kept in values.items():
        if name not in lists:
            raise ConfigError(
                f"values of {name!r} were given; the parameters are {', '.join(lists)}"
            )
        unknown = [value for value in kept if value not in lists[name]]
        if unknown:
            raise ConfigError(
                f"{name} was given the value {unknown[0]!r}, which is none of {list(lists[name])}"
            )
        lists[name] = tuple(value for value in lists[name] if value in kept)
    return SearchSpace(lists, space.constraints, space.constants)


def at_least(owner: str, least: int, **sizes: int) -> None:
    """Raise ConfigError unless all sizes are at least `least`."""
    for name, size in sizes.items():
        if size < least:
            raise ConfigError(f"{owner}: {name}={size} was given; at least {least} is wanted")
