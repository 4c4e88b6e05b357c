"""Where configurations are: those that ship with leanline, by name, and files of the user's."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from leanline.errors import ConfigError
from leanline.experiments.config import ExperimentConfig, merged, parse
from leanline.records.settings import nearest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SCALES = ("small", "full")
FILE = "experiment.toml"


def names() -> tuple[str, ...]:
    """The experiments that ship with leanline."""
    folder = resources.files("leanline.experiments") / "library"
    return tuple(sorted(each.name for each in folder.iterdir() if (each / FILE).is_file()))


def titles() -> dict[str, tuple[str, str]]:
    """What each of them shows, and of what in the thesis it is."""
    documents = {name: _document(_source(name), name) for name in names()}
    return {
        name: (str(document.get("title", "")), str(document.get("thesis", "")))
        for name, document in documents.items()
    }


def scales(name: str) -> tuple[str, ...]:
    """The scales that an experiment has."""
    document = _document(_source(name), name)
    return tuple(each for each in SCALES if each in document) or SCALES


def load(name: str, scale: str, changes: Sequence[str] = ()) -> ExperimentConfig:
    """Read a configuration.

    Args:
        name: an experiment that ships with leanline, or a TOML file.
        scale: "small" or "full": which table of the file goes on top of the rest. A file with
            neither has one scale.
        changes: "key.of.table=value" on top of that; a value is written as in TOML, and text needs
            no quotes.

    Raises:
        ConfigError: there is no such experiment, or something is wrong with its configuration.
    """
    document = dict(_document(_source(name), name))
    if scale not in SCALES:
        raise ConfigError(f"scale {scale!r}: there are {', '.join(SCALES)}")
    tables = {each: document.pop(each) for each in SCALES if each in document}
    if tables and scale not in tables:
        raise ConfigError(f"experiment {name} has no scale {scale!r}, but {', '.join(tables)}")
    chosen = tables.get(scale, {})
    if not isinstance(chosen, Mapping):
        raise ConfigError(f"experiment {name}: {scale} must be a table")
    values = merged(document, chosen)
    for change in changes:
        values = _changed(values, change)
    try:
        return parse(values)
    except ConfigError as error:
        raise ConfigError(f"experiment {name}, {scale}: {error}") from None


def _source(name: str) -> Any:
    """The file of an experiment."""
    if name.endswith(".toml") or "/" in name:
        file = Path(name)
        if not file.is_file():
            raise ConfigError(f"experiment {name}: there is no such file")
        return file
    if name not in names():
        raise ConfigError(
            f"there is no experiment {name!r}{nearest(name, names())}; there are "
            f"{', '.join(names())}, and TOML files of your own"
        )
    return resources.files("leanline.experiments") / "library" / name / FILE


def _document(source: Any, name: str) -> Mapping[str, Any]:
    try:
        return tomllib.loads(source.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"experiment {name} is no TOML: {error}") from None
    except OSError as error:
        raise ConfigError(f"experiment {name} cannot be read: {error.strerror}") from None


def _changed(values: Mapping[str, Any], change: str) -> dict[str, Any]:
    """The configuration with one key set."""
    path, equals, text = (part.strip() for part in change.partition("="))
    if not (path and equals):
        raise ConfigError(f"--set {change}: write --set key.of.table=value")
    value: Any
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    for key in reversed(path.split(".")):
        value = {key: value}
    return merged(values, value)
