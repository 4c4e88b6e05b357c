"""How searches are compiled.

Numba counts references to arrays, with an atomic operation for each of a gate's arrays at each
call. That takes a microsecond an evaluation, so that everything that makes no array is compiled
without it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

_njit: Callable[..., Any] = numba.njit

leaf_jit: Callable[[Callable[..., Any]], Any] = _njit(
    cache=True, nogil=True, error_model="numpy", _nrt=False
)
"""For functions that make no array."""

search_jit: Callable[[Callable[..., Any]], Any] = _njit(cache=True, nogil=True, error_model="numpy")
"""For searches: they make the memory that they need, and then leave the work to the others."""
