"""What is made of a plane program once, and kept for as long as the program exists."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar, cast

from leanline.kernels.program import PlaneProgram

P = ParamSpec("P")
Made = TypeVar("Made")
Make = Callable[Concatenate[PlaneProgram, P], Made]


def per_program(kept: int) -> Callable[[Make[P, Made]], Make[P, Made]]:
    """Remember what a function made of a program and other hashable arguments.

    A cache of the function's own would keep every program alive; this one goes with its program.

    Args:
        kept: results a program, the most recently used.
    """

    def decorate(make: Make[P, Made]) -> Make[P, Made]:
        @functools.wraps(make)
        def look_up(program: PlaneProgram, /, *args: P.args, **kwargs: P.kwargs) -> Made:
            mine = program.made.get(make)
            if mine is None:
                cache = functools.lru_cache(kept)(functools.partial(make, program))
                mine = program.made.setdefault(make, cache)
            return cast(Made, mine(*args, **kwargs))

        return look_up

    return decorate
