"""Plane programs by their key, as the custom operators name them."""

from __future__ import annotations

import weakref

from leanline.errors import ModelError
from leanline.kernels.program import PlaneProgram

_programs: weakref.WeakValueDictionary[str, PlaneProgram] = weakref.WeakValueDictionary()


def register(program: PlaneProgram) -> str:
    """Make a program known to the operators for as long as it exists; return its key.

    Raises:
        ModelError: the kernels would read or write outside their buffers.
    """
    key = program.key
    if key not in _programs:
        program.check()
        _programs[key] = program
    return key


def find(key: str) -> PlaneProgram:
    """The program of a key.

    Raises:
        ModelError: it was not registered in this process, or is gone.
    """
    try:
        return _programs[key]
    except KeyError:
        raise ModelError(
            f"plane program {key[:12]}... is not registered in this process: make the network "
            "again from its model"
        ) from None
