"""Configurations as canonical JSON, and what differs between two of them."""

import dataclasses
import enum
import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import PurePath
from typing import Any

from leanline.errors import ConfigError


def plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration as nested dictionaries, lists, text, numbers and None.

    Paths become text, enumerations their value, NumPy and PyTorch scalars plain ones, sequences
    and sets (sorted) lists, a dataclass a dictionary of its fields with its class's name under
    ``"class"``.

    Raises:
        ConfigError: Something else is in it; the message names the key.
    """
    return {str(key): _plain(value, str(key)) for key, value in config.items()}


def canonical(value: Any, indent: int | None = None) -> str:
    """Return the JSON of plain values with sorted keys: equal values, equal text.

    Floats that are not finite are written as ``NaN``, ``Infinity`` and ``-Infinity``, which
    Python's parser reads back.
    """
    return json.dumps(value, sort_keys=True, ensure_ascii=False, indent=indent)


def describe_difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return one line per key that differs between two plain configurations.

    Nested keys are joined by dots.
    """
    old, new = _flat(before), _flat(now)
    return [
        f"{key} was {_shown(old, key)}, now {_shown(new, key)}"
        for key in sorted(old.keys() | new.keys())
        if _shown(old, key) != _shown(new, key)
    ]


def _plain(value: Any, key: str) -> Any:
    if isinstance(value, enum.Enum):
        return _plain(value.value, key)
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, PurePath):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return _plain({"class": type(value).__name__, **fields}, key)
    if isinstance(value, Mapping):
        return {str(name): _plain(item, f"{key}.{name}") for name, item in value.items()}
    if isinstance(value, AbstractSet):
        return sorted(_plain(item, key) for item in value)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_plain(item, f"{key}[{index}]") for index, item in enumerate(value)]
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return value.item()
    raise ConfigError(
        f"setting {key} is a {type(value).__name__}, which cannot be written down in a run folder; "
        "text, numbers, sequences, mappings, paths and dataclasses can"
    )


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            flat |= _flat(item, f"{prefix}{key}.")
        else:
            flat[prefix + key] = item
    return flat


def _shown(flat: Mapping[str, Any], key: str) -> str:
    return canonical(flat[key]) if key in flat else "not set"
