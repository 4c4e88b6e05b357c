"""Line integrals through a dynamic CT scene, exact for what is round, and the labels of its gas.

Compiled. A ray runs through the slice z = 0 at an angle and a distance s from the centre:
x cos(angle) + y sin(angle) = s, as in `skimage.transform.radon`. Along it lie the glass and the gel
(chords of two circles), the tablet (intervals between crossings of its border, found to second
order of the step), and the bubbles (chords; where bubbles overlap, their union). Gas displaces what
is there, gel or tablet.
"""

import numba
import numpy as np

from leanline.data.dynamic_ct_scene import ANGLES, GROWTH

FINE = 5
"""Points a side at which a pixel is asked whether it is gas."""
_STEP = 1.0  # between the points at which a ray looks for the tablet, in pixels
_CROSSINGS = 64  # of a ray with the tablet's border, at most


@numba.njit(cache=True, nogil=True)
def line_integrals(  # type: ignore[no-untyped-def]
    angles, times, positions, vial, attenuations, centre, border, bubbles, out
):
    """Fill out[view, position] with the attenuation along each ray, without a unit.

    Args:
        angles: of the views, in radians.
        times: of the views, in frames since `bubbles`.
        positions: s of the rays, in pixels.
        vial: x, y, outer and inner radius, in pixels.
        attenuations: of gel, glass and tablet, a pixel.
        centre: x and y of the tablet.
        border: of the tablet, a table of `ANGLES` distances in pixels.
        bubbles: rows of x, y, z, radius, rise in a frame, largest radius; in pixels.
        out: float64 [views, positions].
    """
    gel, glass, tablet = attenuations
    discs = np.empty((len(bubbles), 3))
    gas = np.empty((len(bubbles), 2))
    crossings = np.empty((_CROSSINGS, 2))
    reach = border.max()
    for view in range(len(angles)):
        cosine, sine = np.cos(angles[view]), np.sin(angles[view])
        count = _slice_discs(bubbles, times[view], cosine, sine, discs)
        vial_s = vial[0] * cosine + vial[1] * sine
        tablet_s = centre[0] * cosine + centre[1] * sine
        tablet_t = centre[1] * cosine - centre[0] * sine
        for place in range(len(positions)):
            s = positions[place]
            glassy = _chord(vial[2], s - vial_s)
            if glassy == 0.0:
                out[view, place] = 0.0
                continue
            filled = _chord(vial[3], s - vial_s)
            intervals = _gas_on(s, discs, count, gas)
            inside = _tablet_on(s - tablet_s, tablet_t, cosine, sine, border, reach, crossings)
            empty, solid, both = 0.0, 0.0, 0.0
            for i in range(intervals):
                empty += gas[i, 1] - gas[i, 0]
            for j in range(inside):
                solid += crossings[j, 1] - crossings[j, 0]
                for i in range(intervals):
                    low = max(gas[i, 0], crossings[j, 0])
                    both += max(0.0, min(gas[i, 1], crossings[j, 1]) - low)
            out[view, place] = (
                glass * (glassy - filled)
                + gel * (filled - solid - empty + both)
                + tablet * (solid - both)
            )


@numba.njit(cache=True, nogil=True)
def gas_fraction(bubbles, time, size):  # type: ignore[no-untyped-def]
    """Fraction of each pixel of the slice that is gas, by `FINE` x `FINE` points; [size, size]."""
    discs = np.empty((len(bubbles), 3))
    count = _slice_discs(bubbles, time, 1.0, 0.0, discs)
    fine = np.zeros((size * FINE, size * FINE), np.uint8)
    middle = (size * FINE - 1) / 2
    for number in range(count):
        x, y, radius = discs[number]
        column, row, wide = middle + x * FINE, middle - y * FINE, radius * FINE
        top, bottom = int(np.ceil(row - wide)), int(np.floor(row + wide))
        for r in range(max(top, 0), min(bottom + 1, size * FINE)):
            half = np.sqrt(max(wide * wide - (r - row) ** 2, 0.0))
            left, right = int(np.ceil(column - half)), int(np.floor(column + half))
            fine[r, max(left, 0) : min(right + 1, size * FINE)] = 1
    out = np.zeros((size, size))
    for r in range(size * FINE):
        for c in range(size * FINE):
            out[r // FINE, c // FINE] += fine[r, c]
    return out / FINE**2


@numba.njit(cache=True, nogil=True)
def _slice_discs(bubbles, time, cosine, sine, discs):  # type: ignore[no-untyped-def]
    """Write (s, t, radius) of the discs that bubbles cut out of the slice; return how many."""
    count = 0
    for number in range(len(bubbles)):
        x, y, z, radius, rise, largest = bubbles[number]
        radius = min(radius * (1 + GROWTH * time), largest)
        height = z + rise * time
        squared = radius * radius - height * height
        if squared > 0.0:
            discs[count, 0] = x * cosine + y * sine
            discs[count, 1] = y * cosine - x * sine
            discs[count, 2] = np.sqrt(squared)
            count += 1
    return count


@numba.njit(cache=True, nogil=True)
def _chord(radius, aside):  # type: ignore[no-untyped-def]
    return 2.0 * np.sqrt(max(radius * radius - aside * aside, 0.0))


@numba.njit(cache=True, nogil=True)
def _gas_on(s, discs, count, gas):  # type: ignore[no-untyped-def]
    """Write the intervals of a ray that are gas, in order and apart; return how many."""
    found = 0
    for number in range(count):
        aside = s - discs[number, 0]
        squared = discs[number, 2] ** 2 - aside * aside
        if squared <= 0.0:
            continue
        half = np.sqrt(squared)
        low, high = discs[number, 1] - half, discs[number, 1] + half
        place = found
        while place > 0 and gas[place - 1, 0] > low:
            gas[place] = gas[place - 1]
            place -= 1
        gas[place, 0], gas[place, 1] = low, high
        found += 1
    if found < 2:
        return found
    last = 0
    for number in range(1, found):
        if gas[number, 0] <= gas[last, 1]:
            gas[last, 1] = max(gas[last, 1], gas[number, 1])
        else:
            last += 1
            gas[last] = gas[number]
    return last + 1


@numba.njit(cache=True, nogil=True)
def _tablet_on(s, offset, cosine, sine, border, reach, crossings):  # type: ignore[no-untyped-def]
    """Write the intervals of a ray in the tablet; s is seen from its centre, t from the vial's."""
    squared = reach * reach - s * s
    if squared <= 0.0:
        return 0
    half = np.sqrt(squared) + _STEP
    steps = int(np.ceil(2 * half / _STEP))
    before = 1.0  # the first point lies outside
    inside, found = False, 0
    for number in range(1, steps + 1):
        t = -half + number * _STEP
        x, y = s * cosine - t * sine, s * sine + t * cosine
        place = np.arctan2(y, x) * (ANGLES / (2 * np.pi))
        if place < 0.0:
            place += ANGLES
        below = int(place)
        part = place - below
        edge = (1 - part) * border[below % ANGLES] + part * border[(below + 1) % ANGLES]
        now = np.sqrt(x * x + y * y) - edge
        if (now < 0.0) != inside:
            where = offset + t - _STEP * now / (now - before)
            if not inside and found < _CROSSINGS:
                crossings[found, 0] = where
                inside = True
            elif inside:
                crossings[found, 1] = where
                found += 1
                inside = False
        before = now
    return found
