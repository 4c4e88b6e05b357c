"""Buffers for planes, kept between calls: fresh pages cost more than a sparse layer.

A buffer goes back to the pool when the last array that looks into it is gone, so that activations
which autograd still holds are never handed out twice. Buffers of one key share their layout; a
kernel that borrows one finds zeros wherever no kernel ever writes.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Hashable

import numpy as np
from jaxtyping import Float32

Buffer = Float32[np.ndarray, " size"]

LIMIT = 1 << 30
"""Bytes that a pool keeps at most; the least recently used layouts go first."""

_ALIGNMENT = 16  # floats: one cache line


class Pool:
    """Buffers that are free to be used again.

    Args:
        limit: bytes of free buffers that are kept.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._free: OrderedDict[Hashable, list[np.ndarray]] = OrderedDict()
        self._held = 0
        # Filled by finalizers, which may run at any moment on any thread, even while this thread
        # holds the lock: appending to a deque needs none.
        self._returned: deque[tuple[Hashable, np.ndarray]] = deque()

    def borrow(self, key: Hashable, size: int) -> Buffer:
        """Return a buffer of ``size`` floats for the layout ``key``: a used one or zeros.

        It is borrowed as long as the array that is returned exists. NumPy's own slices of it do
        not count: keep the array, or a tensor made from it.
        """
        with self._lock:
            self._take_back()
            stack = self._free.get(key)
            owner = None
            if stack:
                owner = stack.pop()
                self._held -= owner.nbytes
                self._free.move_to_end(key)
        if owner is None:
            owner = np.zeros(size + _ALIGNMENT, np.float32)
        skip = (-owner.ctypes.data // 4) % _ALIGNMENT
        view = owner[skip : skip + size]
        weakref.finalize(view, self._give_back, key, owner).atexit = False
        return view

    @property
    def held(self) -> int:
        """Bytes of free buffers."""
        with self._lock:
            self._take_back()
            return self._held

    def _give_back(self, key: Hashable, owner: np.ndarray) -> None:
        self._returned.append((key, owner))
        if self._lock.acquire(blocking=False):
            try:
                self._take_back()
            finally:
                self._lock.release()

    def _take_back(self) -> None:
        """Sort in what came back, and keep to the limit; the lock must be held."""
        while self._returned:
            key, owner = self._returned.popleft()
            self._free.setdefault(key, []).append(owner)
            self._held += owner.nbytes
        while self._held > self._limit:
            oldest, stack = next(iter(self._free.items()))
            if stack:
                self._held -= stack.pop().nbytes
            if not stack:
                del self._free[oldest]

    def after_fork(self) -> None:
        """Free the lock in a forked child: its holder may not exist there."""
        self._lock = threading.Lock()
