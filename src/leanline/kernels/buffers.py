"""Buffers for planes, kept between calls: fresh pages from the system cost more than a sparse layer.

A buffer goes back to the pool when the last array that looks into it is gone, so that activations
which autograd still holds are never handed out twice. Buffers of one key share their layout; a
kernel that borrows one finds zeros wherever no kernel ever writes.
"""

import threading
import weakref
from collections import OrderedDict
from collections.abc import Hashable

import numpy as np
from jaxtyping import Float32

Buffer = Float32[np.ndarray, " size"]

LIMIT = 1 << 30
"""Bytes that the pool keeps at most; the least recently used layouts go first."""

_free: OrderedDict[Hashable, list[np.ndarray]] = OrderedDict()
_lock = threading.RLock()


def borrow(key: Hashable, size: int) -> Buffer:
    """Return a buffer of ``size`` floats for the layout ``key``: a used one or zeros."""
    with _lock:
        stack = _free.setdefault(key, [])
        _free.move_to_end(key)
        owner = stack.pop() if stack else None
    if owner is None:
        owner = np.zeros(size + 16, np.float32)
    skip = (-owner.ctypes.data // 4) % 16  # start on a cache line
    view = owner[skip : skip + size]
    weakref.finalize(view, _release, key, owner).atexit = False
    return view


def _release(key: Hashable, owner: np.ndarray) -> None:
    with _lock:
        _free.setdefault(key, []).append(owner)
        held = sum(buffer.nbytes for stack in _free.values() for buffer in stack)
        while held > LIMIT:
            oldest = next(iter(_free))
            if _free[oldest]:
                held -= _free[oldest].pop().nbytes
            else:
                del _free[oldest]
