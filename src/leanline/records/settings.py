"""Settings as users write them, `depth=50`, checked against the function that takes them."""

import ast
import difflib
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from leanline.errors import ConfigError

Made = TypeVar("Made")


def call_with_settings(
    factory: Callable[..., Made], settings: Mapping[str, Any], owner: str
) -> Made:
    """Call a function with settings, after checking their names and types.

    Strings are read as the type that the function asks for: `"50"` for an `int`, `"1,2,4"` for a
    sequence of numbers, `"none"` where None is allowed. A parameter without a type hint gets the
    Python literal that the string spells, or the string itself.

    Args:
        factory: The function or class to call, by keywords only.
        settings: Values by parameter name.
        owner: What messages call it, for example "model 'msd'".

    Raises:
        ConfigError: An unknown name (the nearest one is suggested), a missing one, or a value of
            the wrong type; and what `factory` itself raises.
    """
    parameters = {
        name: parameter
        for name, parameter in _parameters(factory).items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    if not takes_any(factory):
        for name in settings:
            if name not in parameters:
                raise ConfigError(
                    f"{owner} has no setting {name!r}{nearest(name, parameters)}; it has "
                    f"{', '.join(parameters) or 'none'}"
                )
    missing = [
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty and name not in settings
    ]
    if missing:
        raise ConfigError(f"{owner} needs {', '.join(missing)}: give {missing[0]}=...")
    hints = _hints(factory)
    values = {
        name: coerce(value, hints.get(name, Any), f"{owner}: {name}={value}")
        for name, value in settings.items()
    }
    return factory(**values)


def with_defaults(
    factory: Callable[..., Any], settings: Mapping[str, Any], names: Sequence[str], owner: str
) -> dict[str, Any]:
    """The values that `call_with_settings` gives to some parameters, defaults filled in."""
    hints = _hints(factory)
    return {
        name: coerce(settings[name], hints.get(name, Any), f"{owner}: {name}={settings[name]}")
        if name in settings
        else _parameters(factory)[name].default
        for name in names
    }


def accepts(factory: Callable[..., Any], name: str) -> bool:
    """Whether a function can be given a keyword argument of this name."""
    return name in _parameters(factory) or takes_any(factory)


def takes_any(factory: Callable[..., Any]) -> bool:
    """Whether a function takes keyword arguments of any name (`**settings`)."""
    return any(p.kind is p.VAR_KEYWORD for p in _parameters(factory).values())


def nearest(name: str, known: "Sequence[str] | Mapping[str, Any]") -> str:
    """Returns " (did you mean 'x'?)" for the known name that is close, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def coerce(value: Any, hint: Any, where: str) -> Any:
    """Returns `value` as the type `hint`, reading it if it is a string.

    Raises:
        ConfigError: It is not of that type; the message starts with `where`.
    """
    options = _options(hint)
    for option in options:
        try:
            return _as(value, option)
        except (ValueError, TypeError, SyntaxError):
            continue
    wanted = " or ".join(_spell(option) for option in options)
    raise ConfigError(f"{where}: must be {wanted}, not {value!r}")


def _parameters(factory: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(factory).parameters
    except (ValueError, TypeError):  # some builtins tell nothing
        return {"settings": inspect.Parameter("settings", inspect.Parameter.VAR_KEYWORD)}


def _hints(factory: Callable[..., Any]) -> dict[str, Any]:
    function = factory.__init__ if inspect.isclass(factory) else factory
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError):  # hints for the type checker only, or a callable without any
        return {}


def _options(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        # None first, so that "none" is not read as a string; strings last, for they fit anything
        arguments = typing.get_args(hint)
        return tuple(sorted(arguments, key=lambda a: (a is not type(None), a in (str, Path))))
    return (hint,)


def _as(value: Any, hint: Any) -> Any:
    origin = typing.get_origin(hint)
    if hint is type(None):
        if value is None or (isinstance(value, str) and value.lower() in ("none", "null")):
            return None
        raise ValueError
    if origin is typing.Literal:
        if value in typing.get_args(hint):
            return value
        raise ValueError
    if hint is bool:
        return value if isinstance(value, bool) else _truth(value)
    if hint is int:
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            raise ValueError
        return int(value)
    if hint is float:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError
        return float(value)
    if hint is str:
        if not isinstance(value, str):
            raise ValueError
        return value
    if origin in (tuple, list, Sequence):
        return _sequence(value, typing.get_args(hint))
    if hint is Any or isinstance(value, str):
        return Path(value) if hint is Path else _literal(value)
    if inspect.isclass(hint) and not isinstance(value, hint):
        raise ValueError
    return value


def _truth(value: Any) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if not isinstance(value, str) or value.lower() not in words:
        raise ValueError
    return words[value.lower()]


def _sequence(value: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    item = arguments[0] if arguments else Any
    parts = value.strip("()[] ").split(",") if isinstance(value, str) else value
    return tuple(_as(part, item) for part in parts if part != "")


def _literal(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value


def _spell(hint: Any) -> str:
    names = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "text",
        type(None): "none",
        Path: "a path",
    }
    if hint in names:
        return names[hint]
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(repr(choice) for choice in typing.get_args(hint))
    if typing.get_origin(hint) in (tuple, list, Sequence):
        items = typing.get_args(hint) or (Any,)
        inner = {int: "whole numbers", float: "numbers"}.get(items[0], "values")
        return f"{inner} separated by commas"
    return str(getattr(hint, "__name__", hint))
