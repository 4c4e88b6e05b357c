"""What a dynamic CT scan sees: a vial of gel, a tablet that dissolves in it, bubbles that rise.

It stands in for the tablet-in-gel scans of Coban et al. (2020), which the thesis uses. One scene is
one experiment: a sequence of frames. Lengths are in units of a detector pixel of a 512 x 512
picture, 0.1 mm; x points to the right and y upwards from the centre of the picture, and the
bubbles rise along z through the slice z = 0. Time is in frames. Attenuations are in 1/mm.
"""

from dataclasses import dataclass

import numba
import numpy as np
from jaxtyping import Float64

HALF = 256.0
"""Half the width of the picture."""
DEPTH = 128.0
"""Bubbles are followed in |z| < DEPTH; what leaves at the top comes in again at the bottom."""
GROWTH = 0.02
"""By which a bubble's radius grows in a frame."""
FASTEST = 12.0
BUOYANT = 2.5
"""Bubbles below this radius stick in the gel."""
ANGLES = 1024
"""Entries of a table of the tablet's border."""
_LARGEST = 18.0
_ROUNDS = 60  # of placing bubbles; what does not fit by then is left out

Line = Float64[np.ndarray, "_"]
Border = Float64[np.ndarray, "1024"]


@dataclass(frozen=True)
class Vial:
    """A round glass filled with gel.

    Attributes:
        centre: (x, y).
        outer: radius of the glass.
        inner: radius of the gel.
        gel: attenuation.
        glass: attenuation.
    """

    centre: tuple[float, float]
    outer: float
    inner: float
    gel: float
    glass: float


@dataclass(frozen=True)
class Tablet:
    """A bumpy ellipse that shrinks and roughens.

    Attributes:
        centre: (x, y).
        attenuation: in 1/mm.
        first: its border at time 0, as distances from the centre at `ANGLES` equal angles.
        roughness: relative changes of the border, of standard deviation 1.
        rate: fraction of its size that it loses in a frame.
    """

    centre: tuple[float, float]
    attenuation: float
    first: Border
    roughness: Border
    rate: float

    def border(self, time: float) -> Border:
        """The border at a time: distances from the centre at `ANGLES` equal angles.

        The size falls as exp(-rate * time), which is 1 - rate * time at first and never negative.
        """
        size = np.exp(-self.rate * time)
        rough = np.maximum(1 + 0.1 * (1 - size) * self.roughness, 0.2)
        return np.asarray(self.first * size * rough)


@dataclass(frozen=True)
class Bubbles:
    """Spheres of gas at the beginning of a frame, one a place of each array.

    Attributes:
        x: right of the picture's centre.
        y: above the picture's centre.
        z: height above the slice.
        radius: at this time.
        first: radius that it starts with, at time 0 and each time that it comes in at the bottom.
        largest: radius at which it touches the glass; it grows no further.
        drive: rise in a frame of a bubble of radius 3.
    """

    x: Line
    y: Line
    z: Line
    radius: Line
    first: Line
    largest: Line
    drive: float

    @property
    def speed(self) -> Line:
        """Rise in a frame: v0 (r / 3)^2, at most `FASTEST`; 0 below `BUOYANT`."""
        rising = np.minimum(self.drive * (self.radius / 3) ** 2, FASTEST)
        return np.where(self.radius < BUOYANT, 0.0, rising)

    def next(self) -> "Bubbles":
        """A frame later."""
        z = self.z + self.speed
        gone = z > DEPTH
        radius = np.minimum(self.radius * (1 + GROWTH), self.largest)
        return Bubbles(
            self.x,
            self.y,
            np.where(gone, z - 2 * DEPTH, z),
            np.where(gone, self.first, radius),
            self.first,
            self.largest,
            self.drive,
        )


@dataclass(frozen=True)
class Scene:
    """One experiment: the vial, the tablet, and the bubbles at time 0."""

    vial: Vial
    tablet: Tablet
    bubbles: Bubbles

    def bubbles_at(self, frame: int) -> Bubbles:
        """The bubbles at the beginning of a frame."""
        bubbles = self.bubbles
        for _ in range(frame):
            bubbles = bubbles.next()
        return bubbles


def draw_scene(rng: np.random.Generator) -> Scene:
    """Draws a vial, a tablet and 800 to 2400 bubbles."""
    outer = rng.uniform(0.80, 0.92) * HALF
    wall = rng.uniform(0.035, 0.055) * HALF
    vial = Vial(
        _within(rng, 8.0),
        outer,
        outer - wall,
        gel=rng.uniform(0.023, 0.027),
        glass=rng.uniform(0.08, 0.10),
    )
    tablet = _draw_tablet(rng, vial)
    return Scene(vial, tablet, _draw_bubbles(rng, vial, tablet))


def border_at(border: Border, angle: Line) -> Line:
    """A border between the entries of its table, at angles in radians."""
    place = np.mod(angle, 2 * np.pi) * (ANGLES / (2 * np.pi))
    below = place.astype(np.int64)
    part = place - below
    ends = border[below % ANGLES], border[(below + 1) % ANGLES]
    return np.asarray((1 - part) * ends[0] + part * ends[1])


def _within(rng: np.random.Generator, radius: float) -> tuple[float, float]:
    """A point that is uniform in a disc around (0, 0)."""
    distance, angle = radius * np.sqrt(rng.uniform()), rng.uniform(0, 2 * np.pi)
    return float(distance * np.cos(angle)), float(distance * np.sin(angle))


def _draw_tablet(rng: np.random.Generator, vial: Vial) -> Tablet:
    long = rng.uniform(0.16, 0.30) * HALF
    short = long * rng.uniform(0.5, 1.0)
    aside = _within(rng, 0.3 * vial.inner)
    angle = np.arange(ANGLES) * (2 * np.pi / ANGLES)
    turned = angle - rng.uniform(0, np.pi)
    ellipse = long * short / np.hypot(short * np.cos(turned), long * np.sin(turned))
    low, high = np.arange(1, 7), np.arange(7, 41)
    bumps = _waves(rng, angle, low, 0.06 / low**0.7)
    rough = _waves(rng, angle, high, 1 / high)
    return Tablet(
        (vial.centre[0] + aside[0], vial.centre[1] + aside[1]),
        rng.uniform(0.036, 0.050),
        ellipse * (1 + bumps),
        rough / rough.std(),
        rng.uniform(0.03, 0.09),
    )


def _waves(
    rng: np.random.Generator,
    angle: Border,
    orders: np.ndarray,
    amplitudes: np.ndarray,
) -> Border:
    phases = rng.uniform(0, 2 * np.pi, len(orders))
    return np.asarray(np.cos(np.outer(angle, orders) + phases) @ amplitudes)


def _draw_bubbles(rng: np.random.Generator, vial: Vial, tablet: Tablet) -> Bubbles:
    """Spheres that do not overlap, half of them near the tablet, all of them inside the gel."""
    count = int(rng.integers(800, 2401))
    radius = np.clip(3.0 * np.exp(0.6 * rng.standard_normal(count)), 1.5, _LARGEST)
    near = rng.permutation(count) < count // 2
    places = np.zeros((count, 3))
    placed = np.zeros(count, bool)
    border = tablet.border(0.0)
    for _ in range(_ROUNDS):
        open_ = np.flatnonzero(~placed)
        if not len(open_):
            break
        places[open_] = _propose(rng, vial, tablet, border, near[open_])
        fits = np.zeros(count, bool)
        fits[open_] = _in_gel(vial, tablet, border, places[open_], radius[open_], near[open_])
        _place_clear(places, radius, fits, placed)
    places, radius = places[placed], radius[placed]
    distance = np.hypot(places[:, 0] - vial.centre[0], places[:, 1] - vial.centre[1])
    x, y, z = np.ascontiguousarray(places.T)
    return Bubbles(
        x,
        y,
        z,
        radius=radius,
        first=radius,
        largest=vial.inner - distance,
        drive=rng.uniform(1.0, 4.0),
    )


def _propose(
    rng: np.random.Generator, vial: Vial, tablet: Tablet, border: Border, near: np.ndarray
) -> Float64[np.ndarray, "bubbles 3"]:
    """Places near the tablet's edge (exponential distances, 40 on average), or anywhere in gel."""
    count = len(near)
    angle = rng.uniform(0, 2 * np.pi, count)
    from_tablet = border_at(border, angle) + rng.exponential(40.0, count)
    from_vial = vial.inner * np.sqrt(rng.uniform(size=count))
    distance = np.where(near, from_tablet, from_vial)
    centres = np.where(near[:, None], [tablet.centre], [vial.centre])
    return np.stack(
        (
            centres[:, 0] + distance * np.cos(angle),
            centres[:, 1] + distance * np.sin(angle),
            rng.uniform(-DEPTH, DEPTH, count),
        ),
        axis=1,
    )


def _in_gel(
    vial: Vial,
    tablet: Tablet,
    border: Border,
    places: np.ndarray,
    radius: np.ndarray,
    near: np.ndarray,
) -> np.ndarray:
    """Whether a sphere is clear of the glass, and its centre of the tablet."""
    x, y = places[:, 0] - tablet.centre[0], places[:, 1] - tablet.centre[1]
    outside = near | (np.hypot(x, y) > border_at(border, np.arctan2(y, x)))
    from_axis = np.hypot(places[:, 0] - vial.centre[0], places[:, 1] - vial.centre[1])
    return np.asarray(outside & (from_axis + radius <= vial.inner))


@numba.njit(cache=True, nogil=True)
def _place_clear(places, radius, fits, placed):  # type: ignore[no-untyped-def]
    """Place, one after the other, the spheres that fit and overlap none that is placed."""
    for new in range(len(places)):
        if not fits[new]:
            continue
        clear = True
        for old in range(len(places)):
            if not placed[old]:
                continue
            squared = 0.0
            for axis in range(3):
                squared += (places[new, axis] - places[old, axis]) ** 2
            if squared < (radius[new] + radius[old]) ** 2:
                clear = False
                break
        placed[new] = clear
