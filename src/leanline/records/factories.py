"""Functions of the user's own, named as `package.module:factory`."""

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from leanline.errors import ConfigError
from leanline.records.settings import nearest


def import_factory(name: str, owner: str) -> Callable[..., Any]:
    """Import "package.module:factory"; this **runs the module's code**.

    The current folder is searched too.

    Args:
        name: The name.
        owner: What messages call it, for example "model 'x:y'".

    Raises:
        ConfigError: The module cannot be imported, or has no such function.
    """
    module_name, _, attribute = name.partition(":")
    if os.getcwd() not in sys.path and "" not in sys.path:  # noqa: PTH109 - as Python itself does
        sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(f"{owner}: cannot import {module_name!r}: {error}") from error
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{owner}: write package.module:factory ({error})") from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        names = [key for key, value in vars(module).items() if callable(value)]
        raise ConfigError(
            f"{owner}: {module_name} has no function {attribute!r}{nearest(attribute, names)}"
        )
    return factory  # type: ignore[no-any-return]
