"""Filtered back-projection of a parallel-beam scan (Kak & Slaney, Principles of CT, chapter 3)."""

import numba
import numpy as np
from jaxtyping import Float, Float32, Float64


def hann_ramp(length: int) -> Float64[np.ndarray, "frequencies"]:
    """The ramp filter under a Hann window, at the frequencies of `numpy.fft.rfft`.

    It is the transform of the band-limited ramp sampled in space, which keeps the mean right.
    """
    place = np.fft.fftfreq(length, 1 / length)
    space = np.zeros(length)
    odd = place.astype(np.int64) % 2 == 1
    space[odd] = -1 / (np.pi * place[odd]) ** 2
    space[0] = 0.25
    ramp = np.fft.rfft(space).real
    window = 0.5 + 0.5 * np.cos(np.pi * np.arange(len(ramp)) / (length / 2))
    return np.asarray(ramp * window)


def reconstruct(
    sinogram: Float[np.ndarray, "views size"], angles: Float64[np.ndarray, "views"]
) -> Float32[np.ndarray, "size size"]:
    """Reconstructs the slice from its line integrals, by the Hann-windowed ramp.

    Args:
        sinogram: line integrals at distances s = k - (size - 1) / 2 pixels from the centre.
        angles: of the views in radians, spread evenly over half a turn; at angle a, a ray is
            x cos(a) + y sin(a) = s, with y upwards.

    Returns:
        Attenuation a pixel; zero outside the inscribed circle.
    """
    views, size = sinogram.shape
    length = max(64, 1 << int(np.ceil(np.log2(2 * size))))
    spectrum = np.fft.rfft(sinogram, length, axis=1) * hann_ramp(length)
    filtered = np.fft.irfft(spectrum, length, axis=1)[:, :size] * (np.pi / views)
    out = np.zeros((size, size), np.float32)
    _backproject(np.ascontiguousarray(filtered, np.float32), np.cos(angles), np.sin(angles), out)
    return out


@numba.njit(cache=True, nogil=True, fastmath={"contract", "nsz"})
def _backproject(filtered, cosines, sines, out):  # type: ignore[no-untyped-def]
    """Add up the views over the inscribed circle, between detector pixels by straight lines."""
    views, size = filtered.shape
    middle = (size - 1) / 2
    for row in range(size):
        up = middle - row
        half = np.sqrt(max(middle * middle - up * up, 0.0))
        first, last = int(np.ceil(middle - half)), int(np.floor(middle + half))
        line = out[row]
        for view in range(views):
            values = filtered[view]
            cosine = cosines[view]
            start = middle - middle * cosine + up * sines[view]
            for column in range(first, last + 1):
                place = start + column * cosine
                below = min(max(int(place), 0), size - 2)
                part = np.float32(place - below)
                line[column] += values[below] + part * (values[below + 1] - values[below])
