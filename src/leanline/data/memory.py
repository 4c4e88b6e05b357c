"""The most recently used pictures, up to a number of bytes."""

from collections import OrderedDict
from collections.abc import Callable, Hashable

from torch import Tensor


class PictureMemory:
    """Keeps pairs of tensors in memory and drops those that were not used for longest.

    What it returns is a copy of what it keeps, so that callers may change it.
    """

    def __init__(self, limit: int) -> None:
        """Keeps up to `limit` bytes; 0 keeps nothing."""
        self.limit = limit
        self.used = 0
        self._pairs: OrderedDict[Hashable, tuple[Tensor, Tensor]] = OrderedDict()

    def get(
        self, key: Hashable, make: Callable[[], tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """The pair of a key, which is made when it is not kept."""
        if key in self._pairs:
            self._pairs.move_to_end(key)
            image, target = self._pairs[key]
            return image.clone(), target.clone()
        pair = make()
        if _bytes(pair) > self.limit:
            return pair
        self._pairs[key] = (pair[0].clone(), pair[1].clone())
        self.used += _bytes(pair)
        while self.used > self.limit:
            _, dropped = self._pairs.popitem(last=False)
            self.used -= _bytes(dropped)
        return pair


def _bytes(pair: tuple[Tensor, Tensor]) -> int:
    return sum(part.nbytes for part in pair)
