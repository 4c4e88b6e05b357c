"""Pictures for the page: arrays to colours, colours to PNG data."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image

CLASSES = (
    (40, 40, 40),
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (255, 255, 255),
    (136, 34, 85),
    (153, 153, 51),
    (51, 34, 136),
    (170, 170, 170),
    (68, 170, 153),
)
"""Okabe and Ito's colours, which the colour-blind can tell apart, then some of Tol's; class 0,
usually the background, is dark. More classes than these repeat them."""

RIGHT, WRONG, NOT_COUNTED = (225, 225, 225), (190, 20, 60), (150, 165, 190)
"""Pixels of an error picture."""

TOO_DARK, TOO_BRIGHT = (5, 60, 140), (165, 15, 40)
"""Full colours of a difference."""

LARGEST = 512
"""Pictures with a longer side are shown smaller, by a whole factor."""

Labels = Int[np.ndarray, "height width"]
Grey = Float[np.ndarray, "channels height width"]
Colours = UInt8[np.ndarray, "height width 3"]


def colour_of(label: int) -> tuple[int, int, int]:
    """The colour of a class."""
    return CLASSES[label % len(CLASSES)]


def reduction(height: int, width: int) -> int:
    """By which factor a picture of that size is shown smaller."""
    return math.ceil(max(height, width) / LARGEST)


def colour_labels(labels: Labels, ignore: int | None = None) -> Colours:
    """Class ids as colours; labels that do not count have a colour of their own."""
    table = np.array(CLASSES, np.uint8)
    coloured: Colours = table[labels % len(CLASSES)]
    if ignore is not None:
        coloured[labels == ignore] = NOT_COUNTED
    return coloured


def colour_errors(labels: Labels, truth: Labels, ignore: int | None = None) -> Colours:
    """Where class ids differ from the true ones."""
    right, wrong = np.array(RIGHT, np.uint8), np.array(WRONG, np.uint8)
    coloured = np.where((labels == truth)[..., None], right, wrong)
    if ignore is not None:
        coloured[truth == ignore] = NOT_COUNTED
    return coloured


def accuracy(labels: Labels, truth: Labels, ignore: int | None = None) -> float:
    """Share of the pixels that count whose class is right; NaN where none counts."""
    counted: Bool[np.ndarray, "height width"] = (
        np.ones(truth.shape, bool) if ignore is None else truth != ignore
    )
    return float((labels == truth)[counted].mean()) if counted.any() else math.nan


def window(pictures: np.ndarray) -> tuple[float, float]:
    """The grey values that are shown as black and as white: half a per cent is cut at each end."""
    finite = pictures[np.isfinite(pictures)]
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(finite, (0.5, 99.5)))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def grey(picture: Grey, low: float, high: float) -> Colours:
    """A picture between two grey values; three channels are shown as colour, else the first."""
    shown = picture if picture.shape[0] == 3 else picture[:1].repeat(3, axis=0)
    scaled = (np.nan_to_num(shown, nan=low) - low) / (high - low)
    colours: Colours = (255 * scaled.clip(0, 1)).round().astype(np.uint8).transpose(1, 2, 0)
    return colours


def difference(picture: Grey, truth: Grey, scale: float) -> Colours:
    """A picture minus the true one: blue where too dark, red where too bright, white at 0.

    Args:
        picture: the picture; the mean over its channels is shown.
        truth: the true one.
        scale: the difference at which the colour is full.
    """
    signed = np.nan_to_num((picture - truth).mean(0) / scale).clip(-1, 1)[..., None]
    full = np.where(signed < 0, np.array(TOO_DARK, float), np.array(TOO_BRIGHT, float))
    colours: Colours = (255 + np.abs(signed) * (full - 255)).round().astype(np.uint8)
    return colours


def psnr(picture: Grey, truth: Grey, data_range: float) -> float:
    """Peak signal-to-noise ratio of one picture in dB."""
    error = float(np.square(picture.astype(np.float64) - truth).mean())
    if error == 0:
        return math.inf
    return 10 * math.log10(data_range**2 / error) if data_range > 0 else math.nan


def shrink(picture: Grey, factor: int) -> Float[np.ndarray, "channels small_height small_width"]:
    """Show a picture smaller: the mean over squares of pixels."""
    if factor == 1:
        return picture
    height, width = (size // factor for size in picture.shape[1:])
    cut = picture[:, : height * factor, : width * factor]
    means: np.ndarray = cut.reshape(len(picture), height, factor, width, factor).mean((2, 4))
    return means


def thin(labels: Labels, factor: int) -> Int[np.ndarray, "small_height small_width"]:
    """Show class ids smaller: one pixel of each square of pixels."""
    height, width = (size // factor * factor for size in labels.shape)
    return labels[:height:factor, :width:factor]


def png(colours: Colours) -> str:
    """Colours as a PNG in a data URI, as small as the format allows without loss."""
    flat = colours.reshape(-1, 3)
    few, places = np.unique(flat, axis=0, return_inverse=True)
    if (flat == flat[:, :1]).all():
        image = Image.fromarray(np.ascontiguousarray(colours[..., 0]))
    elif len(few) <= 256:
        image = Image.fromarray(places.reshape(colours.shape[:2]).astype(np.uint8)).convert("P")
        image.putpalette(few.tobytes())
    else:
        image = Image.fromarray(colours)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
