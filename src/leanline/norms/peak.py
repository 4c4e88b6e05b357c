"""Compiled search for the maximum of |F|^2 of many filters over a grid of frequencies.

Write p for |F|^2 as a function of continuous angles x, with L_a lags on axis a:
p(x) = sum over lags l of r(l) cos(l . x). It is the sum of the squared moduli of the filter's
polyphase parts, so p >= 0 everywhere. Let M be its supremum and U >= M any bound.

*Claim.* psi(x) = arccos(sqrt(p(x) / U)) changes by at most (sum over a of L_a |d_a|) / 2 when x
moves by d.

*Proof.* If d is a multiple of whole numbers, d = h k, then q(t) = p(x + t k) is a real
trigonometric polynomial of degree D <= sum of L_a |k_a|, and u = q - U / 2 has |u| <= U / 2. The
inequality of Bernstein and Szegő, u'^2 + D^2 u^2 <= D^2 (U / 2)^2, says that arccos(2 u / U) has
a slope of at most D; as 2 u / U = 2 q / U - 1 = cos(2 psi), psi changes by at most h D / 2. Such d
are dense and psi is continuous. []

*Certificate.* On each axis take either the n points of the grid itself (then d_a = 0 below, and M
is the supremum over that grid in this axis: the claim holds on each of its lines and planes with
the same U) or any m equidistant samples. Every angle then is within d_a = pi / m_a of a sample,
that is within slack = sum of L_a pi / (2 m_a) < pi / 2 of it in psi. Let C be the largest sample.
With U = M, psi is 0 at the supremum, so that the sample next to it gives C >= M cos^2(slack). Hence
U = C / cos^2(slack) (or the sum of |r|, if that is smaller) is a bound. Let B be the value at any
point of the grid. A sample of value c has no point of value above B in its cell if
arccos(sqrt(c / U)) - slack >= arccos(sqrt(B / U)), that is, if
c <= U cos^2(min(slack + arccos(sqrt(B / U)), pi / 2)).
All cells whose sample is above that are searched point by point, so the result is the maximum over
the grid, up to rounding. n and m need have nothing in common, and n may be smaller than m.

Since p(-x) = p(x), half of the angles is enough on the first axis that has lags; on the last axis x
and -x come in pairs.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np
from jaxtyping import Float64, Int64

# Numba lets an index count from the end, and the check for that keeps loops from being vectorised;
# unsigned numbers need no check.
_natural = np.uintp
_ROUNDING = 1e-9  # of U, far more than the rounding errors of |F|^2


class Waves(NamedTuple):
    """Cosines and sines of the lags 0, 1, ... (rows) at the angles of an axis (columns)."""

    cosine: Float64[np.ndarray, "lags angles"]
    sine: Float64[np.ndarray, "lags angles"]


class Search(NamedTuple):
    """What to search on one axis; all but the step are about angles.

    Attributes:
        step: Every how many taps there is a lag.
        samples: Waves of the samples.
        grid: Waves of the grid.
        cells: The grid's points next to sample i are cells[i] to cells[i + 1] - 1.
    """

    step: int
    samples: Waves
    grid: Waves
    cells: Int64[np.ndarray, "samples+1"]


@numba.njit(cache=True)
def _normalise(filter_, scaled):  # type: ignore[no-untyped-def]
    """Write the filter with a largest magnitude of 1; return the factor, NaN if not finite."""
    largest = 0.0
    for value in filter_.flat:
        if not abs(value) < np.inf:
            return np.nan
        largest = max(largest, abs(value))
    if largest > 0.0:
        for i in range(filter_.shape[0]):
            for j in range(filter_.shape[1]):
                for k in range(filter_.shape[2]):
                    scaled[i, j, k] = filter_[i, j, k] / largest
    return largest


@numba.njit(cache=True, fastmath={"contract", "reassoc", "nsz"})
def _autocorrelate(filter_, steps, r):  # type: ignore[no-untyped-def]
    """Fill r[l1 + L1, l2 + L2, l3], l3 >= 0, doubled for l3 > 0; return the sum of all |r|."""
    k1, k2, k3 = filter_.shape
    reach1, reach2, reach3 = r.shape[0] // 2, r.shape[1] // 2, r.shape[2] - 1
    total = 0.0
    for l1 in range(-reach1, reach1 + 1):
        d1 = l1 * steps[0]
        for l2 in range(-reach2, reach2 + 1):
            d2 = l2 * steps[1]
            for l3 in range(reach3 + 1):
                d3 = _natural(l3 * steps[2])
                value = 0.0
                for i in range(max(0, -d1), min(k1, k1 - d1)):
                    for j in range(max(0, -d2), min(k2, k2 - d2)):
                        for k in range(_natural(k3) - d3):
                            value += (
                                filter_[_natural(i), _natural(j), k]
                                * filter_[_natural(i + d1), _natural(j + d2), k + d3]
                            )
                if l3 > 0:
                    value *= 2.0
                r[l1 + reach1, l2 + reach2, l3] = value
                total += abs(value)
    return total


@numba.njit(cache=True, fastmath={"contract", "nsz"})
def _transform_first(r, waves, angle, real, imaginary):  # type: ignore[no-untyped-def]
    """Sum over the lags of the first axis: (l2, l3) -> r(., l2, l3) . e^(i l1 x1)."""
    reach = r.shape[0] // 2
    for l2 in range(r.shape[1]):
        for l3 in range(r.shape[2]):
            here, aside = r[reach, l2, l3], 0.0
            for lag in range(1, reach + 1):
                ahead, behind = r[reach + lag, l2, l3], r[reach - lag, l2, l3]
                here += (ahead + behind) * waves.cosine[lag, angle]
                aside += (ahead - behind) * waves.sine[lag, angle]
            real[l2, l3] = here
            imaginary[l2, l3] = aside


@numba.njit(cache=True, fastmath={"contract", "nsz"})
def _transform_second(real, imaginary, waves, start, stop, even, odd):  # type: ignore[no-untyped-def]
    """Sum over the lags of the second axis: the coefficients, (l3, angle), of cos and sin l3 x3."""
    reach = _natural(real.shape[0] // 2)
    one = _natural(1)
    cosine, sine = waves.cosine, waves.sine
    for l3 in range(_natural(real.shape[1])):
        here, aside = real[reach, l3], -imaginary[reach, l3]
        for angle in range(start, stop):
            even[l3, angle] = here
            odd[l3, angle] = aside
        for lag in range(one, reach + one):
            ahead, behind = reach + lag, reach - lag
            even_c = real[ahead, l3] + real[behind, l3]
            even_s = imaginary[behind, l3] - imaginary[ahead, l3]
            odd_c = -imaginary[ahead, l3] - imaginary[behind, l3]
            odd_s = real[behind, l3] - real[ahead, l3]
            for angle in range(start, stop):
                c, s = cosine[lag, angle], sine[lag, angle]
                even[l3, angle] += even_c * c + even_s * s
                odd[l3, angle] += odd_c * c + odd_s * s


@numba.njit(cache=True, fastmath={"contract", "nsz"})
def _evaluate(even, odd, top, bottom, waves, start, stop, out, to, aside, peak):  # type: ignore[no-untyped-def]
    """For rows of coefficients and angles of the last axis, find the larger one of p at x3 and -x3.

    It is written to out[to + row], and to peak if it is larger than what is there.
    """
    lags = _natural(even.shape[0]) - _natural(1)
    cosine, sine = waves.cosine, waves.sine
    one, two = min(_natural(1), lags), min(_natural(2), lags)
    for row in range(top, bottom):
        here = to + row
        a0, a1, a2 = even[0, row], even[one, row], even[two, row]
        b1, b2 = odd[one, row], odd[two, row]
        if lags < 2:
            a2, b2 = 0.0, 0.0
        if lags < 1:
            a1, b1 = 0.0, 0.0
        if lags <= 2:  # one pass for the most common filters
            for j in range(start, stop):
                value = a0 + a1 * cosine[one, j] + a2 * cosine[two, j]
                value += abs(b1 * sine[one, j] + b2 * sine[two, j])
                out[here, j] = value
                peak[j] = value if value > peak[j] else peak[j]
            continue
        for j in range(start, stop):
            out[here, j] = a0 + a1 * cosine[one, j] + a2 * cosine[two, j]
            aside[j] = b1 * sine[one, j] + b2 * sine[two, j]
        for lag in range(_natural(3), lags, _natural(2)):
            next_ = lag + _natural(1)
            a1, b1 = even[lag, row], odd[lag, row]
            a2, b2 = even[next_, row], odd[next_, row]
            for j in range(start, stop):
                out[here, j] += a1 * cosine[lag, j] + a2 * cosine[next_, j]
                aside[j] += b1 * sine[lag, j] + b2 * sine[next_, j]
        a1, b1 = 0.0, 0.0
        if lags % 2 == 1:
            a1, b1 = even[lags, row], odd[lags, row]
        for j in range(start, stop):
            value = out[here, j] + a1 * cosine[lags, j] + abs(aside[j] + b1 * sine[lags, j])
            out[here, j] = value
            peak[j] = value if value > peak[j] else peak[j]


@numba.njit(cache=True)
def _search_box(r, axes, box, scratch):  # type: ignore[no-untyped-def]
    """Maximum over the grid's points next to samples box = (i1, i2 from, to, i3 from, to)."""
    real, imaginary, even, odd, out, aside, peak = scratch
    first, second, third = axes
    slice_, upper, lower, from_, to = box
    zero = _natural(0)
    top, bottom = _natural(second.cells[upper]), _natural(second.cells[lower + 1])
    left, right = _natural(third.cells[from_]), _natural(third.cells[to + 1])
    for j in range(left, right):
        peak[j] = 0.0
    for angle in range(first.cells[slice_], first.cells[slice_ + 1]):
        _transform_first(r, first.grid, angle, real, imaginary)
        _transform_second(real, imaginary, second.grid, top, bottom, even, odd)
        _evaluate(even, odd, top, bottom, third.grid, left, right, out, zero, aside, peak)
    largest = 0.0
    for j in range(left, right):
        largest = max(largest, peak[j])
    return largest


@numba.njit(cache=True)
def _refine(r, axes, samples, level, scratch):  # type: ignore[no-untyped-def]
    """Maximum over the cells whose sample is above a level, in boxes of neighbouring rows."""
    rows = len(axes[1].cells) - 1
    largest, width = 0.0, samples.shape[1]
    upper, from_, to = -1, width, -1  # no box yet
    for place in range(samples.shape[0]):
        above = 0
        for column in range(width):
            above += samples[place, column] > level
        if above > 0:
            if upper < 0:
                upper = place
            left, right = 0, width - 1
            while samples[place, left] <= level:
                left += 1
            while samples[place, right] <= level:
                right -= 1
            from_, to = min(from_, left), max(to, right)
        if upper >= 0 and (above == 0 or (place + 1) % rows == 0):
            lower = place if above > 0 else place - 1
            box = (place // rows, upper % rows, lower % rows, from_, to)
            largest = max(largest, _search_box(r, axes, box, scratch))
            upper, from_, to = -1, width, -1
    return largest


@numba.njit(cache=True, nogil=True)
def largest_responses(filters, first, second, third, slack, out):  # type: ignore[no-untyped-def]
    """Square roots of the maxima of |F|^2 over the grid, for each filter (the module's text).

    Args:
        filters: (filters, k1, k2, k3), float64.
        first: Search of the first axis, the second and the third likewise.
        second: Its angles must be all, if the first axis has lags; half otherwise.
        third: Angles from 0 to pi.
        slack: Sum of L_a pi / (2 m_a) over the axes that are sampled, below pi / 2; 0: the samples
            are the grid.
        out: (filters,), float64, to write to; NaN for filters that are not finite.
    """
    axes = (first, second, third)
    steps = (first.step, second.step, third.step)
    lags1, lags2, lags3 = (
        first.grid.cosine.shape[0] - 1,
        second.grid.cosine.shape[0] - 1,
        third.grid.cosine.shape[0] - 1,
    )
    slices, rows, columns = (
        first.samples.cosine.shape[1],
        second.samples.cosine.shape[1],
        third.samples.cosine.shape[1],
    )
    scaled = np.empty(filters.shape[1:])
    r = np.empty((2 * lags1 + 1, 2 * lags2 + 1, lags3 + 1))
    widest = max(rows, second.grid.cosine.shape[1])
    longest = max(columns, third.grid.cosine.shape[1])
    real, imaginary = np.empty(r.shape[1:]), np.empty(r.shape[1:])
    even, odd = np.empty((lags3 + 1, widest)), np.empty((lags3 + 1, widest))
    peak, aside = np.empty(longest), np.empty(longest)
    scratch = (real, imaginary, even, odd, np.empty((widest, longest)), aside, peak)
    samples = np.empty((slices * rows, columns))
    narrow = math.cos(slack) ** 2
    zero, down, end = _natural(0), _natural(rows), _natural(columns)
    for number in range(filters.shape[0]):
        scale = _normalise(filters[number], scaled)
        if not scale > 0.0:
            out[number] = scale
            continue
        total = _autocorrelate(scaled, steps, r)
        for j in range(columns):
            peak[j] = 0.0
        for slice_ in range(slices):
            _transform_first(r, first.samples, slice_, real, imaginary)
            _transform_second(real, imaginary, second.samples, zero, down, even, odd)
            to = _natural(slice_ * rows)
            _evaluate(even, odd, zero, down, third.samples, zero, end, samples, to, aside, peak)
        best = 0
        for column in range(columns):
            if peak[column] > peak[best]:
                best = column
        largest = peak[best]
        if slack > 0.0:
            bound = min(largest / narrow, total)
            place = 0
            while samples[place, best] != largest:
                place += 1
            box = (place // rows, place % rows, place % rows, best, best)
            largest = _search_box(r, axes, box, scratch)
            angle = slack + math.acos(math.sqrt(min(1.0, largest / bound)))
            level = bound * (math.cos(min(angle, math.pi / 2)) ** 2 - _ROUNDING)
            if largest < bound * (1.0 - _ROUNDING):
                largest = max(largest, _refine(r, axes, samples, level, scratch))
        out[number] = scale * math.sqrt(max(0.0, largest))
