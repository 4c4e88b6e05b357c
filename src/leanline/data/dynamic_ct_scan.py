"""A dynamic CT scan: what the detector counts while bubbles move, and the slice made from it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64
from scipy.ndimage import gaussian_filter1d

from leanline.data.backprojection import reconstruct
from leanline.data.dynamic_ct_rays import gas_fraction, line_integrals
from leanline.data.dynamic_ct_scene import HALF, Scene

MILLIMETRES = 0.1
"""Width of a detector pixel of a 512 x 512 picture."""
SCAN = 0.25
"""Frames that a scan takes."""
BLUR = 0.6
"""Standard deviation of the detector's blur, in its pixels."""
RINGS = 0.003
"""Standard deviation of the gain of a detector pixel, which stays the same in a sequence."""
_RAYS = 2  # over the width of a detector pixel


@dataclass(frozen=True)
class Scanner:
    """How a sequence is scanned, by a parallel beam.

    Attributes:
        size: detector pixels, and pixels a side of the slice. With fewer, each is wider: the
            picture always shows the same field of view.
        views: spread evenly over half a turn.
        photons: that a detector pixel counts in a view where nothing is in the way.
        gains: relative sensitivity of each detector pixel.
    """

    size: int
    views: int
    photons: float
    gains: Float64[np.ndarray, "size"]

    @property
    def angles(self) -> Float64[np.ndarray, "views"]:
        """Of the views, in radians."""
        return np.arange(self.views) * (np.pi / self.views)


def draw_gains(rng: np.random.Generator, size: int) -> Float64[np.ndarray, "size"]:
    """Gains of the detector pixels."""
    return 1 + RINGS * rng.standard_normal(size)


def sinogram(
    scene: Scene, frame: int, size: int, views: int, rays: int = _RAYS
) -> Float64[np.ndarray, "views rays_of_all_pixels"]:
    """Line integrals of a frame while its bubbles move, without noise.

    Args:
        scene: what is scanned.
        frame: of the sequence, from 0.
        size: detector pixels.
        views: spread evenly over half a turn; view v is taken at frame + SCAN * v / views.
        rays: over the width of a detector pixel, evenly; those of a pixel follow one another.
    """
    scale = size / (2 * HALF)
    vial, tablet = scene.vial, scene.tablet
    a_pixel = MILLIMETRES / scale
    out = np.empty((views, size * rays))
    line_integrals(
        np.arange(views) * (np.pi / views),
        np.arange(views) * (SCAN / views),
        (np.arange(size * rays) + 0.5) / rays - size / 2,
        scale * np.array([*vial.centre, vial.outer, vial.inner]),
        a_pixel * np.array([vial.gel, vial.glass, tablet.attenuation]),
        scale * np.array(tablet.centre),
        scale * tablet.border(frame + SCAN / 2),
        _rows(scene, frame, scale),
        out,
    )
    return out


def scan(
    scene: Scene, frame: int, scanner: Scanner, rng: np.random.Generator
) -> Float32[np.ndarray, "size size"]:
    """Scans a frame and reconstructs the slice: attenuation in 1/mm, 0 outside the circle."""
    size, views = scanner.size, scanner.views
    through = np.exp(-sinogram(scene, frame, size, views)).reshape(views, size, _RAYS).mean(2)
    expected = gaussian_filter1d(through, BLUR, axis=1, mode="nearest") * scanner.gains
    counts = rng.poisson(scanner.photons * expected)
    # a pixel that counted nothing is taken to have counted one photon
    measured = -np.log(np.maximum(counts, 1) / scanner.photons)
    a_pixel = MILLIMETRES * 2 * HALF / size
    return reconstruct(measured, scanner.angles) / np.float32(a_pixel)


def gas(scene: Scene, frame: int, size: int) -> Bool[np.ndarray, "size size"]:
    """Pixels of which at least half are gas in the middle of the scan."""
    rows = _rows(scene, frame, size / (2 * HALF))
    return np.asarray(gas_fraction(rows, SCAN / 2, size) >= 0.5)


def _rows(scene: Scene, frame: int, scale: float) -> Float64[np.ndarray, "bubbles 6"]:
    """The bubbles that may meet the slice during a frame, in pixels."""
    b = scene.bubbles_at(frame)
    near = np.abs(b.z) < b.largest.clip(max=2 * b.radius) + b.speed
    rows = np.stack((b.x, b.y, b.z, b.radius, b.speed, b.largest), axis=1)
    return np.ascontiguousarray(rows[near]) * scale
