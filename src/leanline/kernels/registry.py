"""Plane programs by their key, as the custom operators name them."""

from __future__ import annotations

import weakref

from leanline.errors import ModelError
from leanline.kernels.program import PlaneProgram

# all programs of a key, for a copy may outlive the one that was registered first
_programs: dict[str, weakref.WeakSet[PlaneProgram]] = {}


def register(program: PlaneProgram) -> str:
    """Make a program known to the operators for as long as it exists; return its key.

    Raises:
        ModelError: the kernels would read or write outside their buffers.
    """
    key = program.key
    if not _programs.get(key):
        program.check()
        for gone in [other for other, programs in _programs.items() if not programs]:
            _programs.pop(gone, None)
    _programs.setdefault(key, weakref.WeakSet()).add(program)
    return key


def find(key: str) -> PlaneProgram:
    """The program of a key.

    Raises:
        ModelError: it was not registered in this process, or is gone.
    """
    for program in _programs.get(key, ()):
        return program
    raise ModelError(
        f"plane program {key[:12]}... is not registered in this process: make the network again "
        "from its model"
    )
