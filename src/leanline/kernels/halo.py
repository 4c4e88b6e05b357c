"""The border of a plane: filled from the picture, and its gradient folded back into the picture.

With zero padding nobody writes the border and it stays zero. With ``replicate`` and ``reflect``
it is filled once a plane is computed, as wide as the largest dilation, and serves every dilation
(the border value at a distance does not depend on the padding width).
"""

import numba as nb

ZEROS, REPLICATE, REFLECT = 0, 1, 2
MODES = {"zeros": ZEROS, "replicate": REPLICATE, "reflect": REFLECT}


@nb.njit(nogil=True, cache=True, inline="always")
def _mirror(index, size, mode):  # type: ignore[no-untyped-def]
    """The picture's row or column that stands at ``index`` of the bordered picture."""
    if 0 <= index < size:
        return index
    if mode == REPLICATE:
        return 0 if index < 0 else size - 1
    return -index if index < 0 else 2 * (size - 1) - index


@nb.njit(nogil=True, cache=True)
def fill_border(planes, plane, stride, height, width, border, mode):  # type: ignore[no-untyped-def]
    """Write ``border`` pixels around the picture by ``mode``."""
    for y in range(height):
        row = plane + y * stride
        for x in range(1, border + 1):
            planes[row - x] = planes[row + _mirror(-x, width, mode)]
            planes[row + width - 1 + x] = planes[row + _mirror(width - 1 + x, width, mode)]
    for step in range(1, border + 1):
        above, below = plane - step * stride, plane + (height - 1 + step) * stride
        from_above = plane + _mirror(-step, height, mode) * stride
        from_below = plane + _mirror(height - 1 + step, height, mode) * stride
        for x in range(-border, width + border):
            planes[above + x] = planes[from_above + x]
            planes[below + x] = planes[from_below + x]


@nb.njit(nogil=True, cache=True)
def fold_border(planes, plane, stride, height, width, border, mode):  # type: ignore[no-untyped-def]
    """Add the border's gradient to the pixels it was filled from, and zero it."""
    for step in range(border, 0, -1):
        above, below = plane - step * stride, plane + (height - 1 + step) * stride
        to_above = plane + _mirror(-step, height, mode) * stride
        to_below = plane + _mirror(height - 1 + step, height, mode) * stride
        for x in range(-border, width + border):
            planes[to_above + x] += planes[above + x]
            planes[above + x] = 0.0
            planes[to_below + x] += planes[below + x]
            planes[below + x] = 0.0
    for y in range(height):
        row = plane + y * stride
        for x in range(1, border + 1):
            planes[row + _mirror(-x, width, mode)] += planes[row - x]
            planes[row - x] = 0.0
            planes[row + _mirror(width - 1 + x, width, mode)] += planes[row + width - 1 + x]
            planes[row + width - 1 + x] = 0.0
