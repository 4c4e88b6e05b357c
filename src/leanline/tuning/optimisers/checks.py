"""Settings of optimisers that are refused, with errors that restate them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeVar

from leanline.errors import ConfigError

Choice = TypeVar("Choice")


def at_least(optimiser: object, least: float, **settings: float) -> None:
    """Raise ConfigError unless all settings are numbers of at least `least`."""
    for name, value in settings.items():
        if not value >= least:
            raise ConfigError(
                f"{type(optimiser).__name__} was given {name}={value!r}; at least {least} is wanted"
            )


def above_zero(optimiser: object, **settings: float) -> None:
    """Raise ConfigError unless all settings are numbers above zero."""
    for name, value in settings.items():
        if not value > 0:
            raise ConfigError(
                f"{type(optimiser).__name__} was given {name}={value!r}; more than 0 is wanted"
            )


def choose(optimiser: object, setting: str, value: str, choices: Mapping[str, Choice]) -> Choice:
    """Return what a choice stands for, or raise ConfigError."""
    one_of(optimiser, setting, value, choices)
    return choices[value]


def one_of(optimiser: object, setting: str, value: str, choices: Collection[str]) -> None:
    """Raise ConfigError unless a setting is one of some choices."""
    if value not in choices:
        raise ConfigError(
            f"{type(optimiser).__name__} was given {setting}={value!r}; there are "
            f"{', '.join(choices)}"
        )


def changes_of(share: float, bits: int) -> int:
    """The number of changes that a share of a configuration's one-hot length is; at least 1."""
    return max(1, int(share * bits))
