"""Reading one picture file: PNG, TIFF or JPEG; 8 or 16 bits or floating point; grey or colour.

A TIFF may have any number of channels: as samples of its pixels, or as the pages of a file whose
axes (as ImageJ, OME and tifffile write them) are channel, height, width.

Cameras and phones store pictures as the sensor lies and write into the file how to turn them (the
orientation of EXIF). Pictures, their headers and labels are all turned upright.
"""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageOps, UnidentifiedImageError
from torch import Tensor

from leanline.errors import DataError

SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg")
_TIFF = (".tif", ".tiff")
_JPEG = (".jpg", ".jpeg")
_BITS_PER_SAMPLE = 258  # tags of TIFF
_SAMPLES_PER_PIXEL = 277
_ORIENTATION = 274
_LYING = (5, 6, 7, 8)  # orientations that exchange height and width
_TRANSPARENT = (tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA)
_COLOUR = {"RGB": 3, "P": 3}
_GREY = ("1", "L", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")
# What Pillow and tifffile raise for files that are cut off or damaged.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, KeyError)


@dataclass(frozen=True)
class Header:
    """What a picture's file says before its pixels are read.

    `full_scale` is the largest value that its pixels can have: 255, 65535, 1 (one bit), or None
    for floating point and 32-bit numbers.
    """

    height: int
    width: int
    channels: int
    full_scale: int | None


def read_header(path: Path) -> Header:
    """Size and kind of a picture, without reading its pixels.

    Raises:
        DataError: not a picture, or one of a kind that is not supported; the message names it.
    """
    try:
        if _needs_tifffile(path):
            with tifffile.TiffFile(path) as stack:
                return _tiff_header(path, stack)
        with PillowImage.open(path) as opened:
            return _pillow_header(path, opened)
    except PillowImage.DecompressionBombError as error:
        raise DataError(f"{path}: {error}") from error
    except _DAMAGE as error:
        raise DataError(f"{path} cannot be read as a picture: {error}") from error


def read_image(path: Path) -> Float[Tensor, "channels height width"]:
    """Reads a picture as float32, in the units of the file (0 to 255 for 8 bits).

    A palette is resolved to its colours.

    Raises:
        DataError: as `read_header`, and for a truncated file or one with NaN or infinite pixels.
    """
    pixels = _pixels(path, colours=True)
    values = pixels.astype(np.float32)
    if not np.isfinite(values).all():
        raise DataError(f"{path} holds NaN or infinite pixels; replace them before training")
    channels_first = values[None] if values.ndim == 2 else np.moveaxis(values, -1, 0)
    return torch.from_numpy(np.ascontiguousarray(channels_first))


def read_pixels(path: Path) -> NDArray[Any]:
    """Reads a picture as [height, width] or [height, width, channels], in the dtype of the file.

    A palette is resolved to its colours. NaN stays NaN.

    Raises:
        DataError: as `read_header`, and for a truncated file.
    """
    return _pixels(path, colours=True)


def read_labels(path: Path) -> Int[Tensor, "height width"]:
    """Reads class ids as int64: palette indices, or the grey values of a 1-, 8- or 16-bit file.

    Raises:
        DataError: as `read_header`, and for JPEG (which changes values), colours or fractions.
    """
    if path.suffix.lower() in _JPEG:
        raise DataError(f"{path}: JPEG does not keep class ids; save labels as PNG or TIFF")
    pixels = _pixels(path, colours=False)
    if pixels.ndim != 2:
        raise DataError(
            f"{path} is a colour picture or has several channels; labels must be class ids in a "
            "grey or palette picture"
        )
    if not (np.issubdtype(pixels.dtype, np.integer) or pixels.dtype == np.bool_):
        raise DataError(
            f"{path} holds {pixels.dtype} values; labels must be whole numbers (8 or 16 bits)"
        )
    return torch.from_numpy(pixels.astype(np.int64))


def _needs_tifffile(path: Path) -> bool:
    """Whether a file is a TIFF that Pillow cannot open, or not as it is.

    Of 16-bit colours Pillow keeps 8 bits; it makes int32 of int16 and uint32, and does not know
    that samples or pages may be channels.
    """
    if path.suffix.lower() not in _TIFF:
        return False
    try:
        with PillowImage.open(path) as opened:
            bits = getattr(opened, "tag_v2", {}).get(_BITS_PER_SAMPLE, (8,))
            loses_bits = opened.mode == "RGB" and int(np.max(bits)) > 8
            if loses_bits or opened.mode == "I" or opened.mode not in (*_GREY, *_COLOUR):
                return True
            samples = getattr(opened, "tag_v2", {}).get(_SAMPLES_PER_PIXEL, 1)
            several = samples > 1 and opened.mode != "RGB"
            return several or int(getattr(opened, "n_frames", 1)) > 1
    except UnidentifiedImageError:
        return True


def _pillow_header(path: Path, opened: Any) -> Header:
    width, height = opened.size
    if _orientation(opened) in _LYING:
        width, height = height, width
    if opened.format in ("PNG", "TIFF") and getattr(opened, "n_frames", 1) > 1:
        raise DataError(f"{path} holds {opened.n_frames} pictures; save one a file")
    if opened.mode not in (*_GREY, *_COLOUR):
        raise DataError(
            f"{path} is of kind {opened.mode!r}; save it as grey or RGB, without transparency"
        )
    if opened.format == "PNG" and opened.mode == "RGB" and _png_bits(path) == 16:
        raise DataError(
            f"{path} is a 16-bit colour PNG, of which only 8 bits could be read; save it as TIFF"
        )
    full_scale = {"1": 1, "I": None, "F": None}.get(
        opened.mode, 65535 if opened.mode.startswith("I;16") else 255
    )
    return Header(height, width, _COLOUR.get(opened.mode, 1), full_scale)


def _orientation(opened: PillowImage.Image) -> int:
    """How a file that was opened, and not loaded, says that it has to be turned; 1 is upright.

    Pillow turns TIFF by itself. Of a PNG only what stands before its pixels is asked for, since the
    rest costs reading them.
    """
    if opened.format == "TIFF" or "exif" not in opened.info:
        return 1
    return int(opened.getexif().get(_ORIENTATION, 1))


def _png_bits(path: Path) -> int:
    with path.open("rb") as file:
        return file.read(25)[24]


def _tiff_header(path: Path, stack: tifffile.TiffFile) -> Header:
    page = stack.pages.first
    part = page if len(stack.pages) == 1 else stack.series[0]
    if len(stack.pages) > 1 and (len(stack.series) > 1 or part.axes != "CYX"):
        raise DataError(
            f"{path} holds {len(stack.pages)} pictures; save one a file (pages that are the "
            "channels of one picture need the axes CYX in the file's ImageJ, OME or tifffile "
            "metadata)"
        )
    if part.axes not in ("YX", "YXS", "SYX", "CYX"):
        raise DataError(
            f"{path} has the axes {part.axes!r}; save one picture a file, its channels as samples"
        )
    if any(kind in _TRANSPARENT for kind in page.extrasamples):
        raise DataError(f"{path} has a transparent channel; save it without transparency")
    if page.photometric == tifffile.PHOTOMETRIC.SEPARATED:
        raise DataError(f"{path} holds printing inks (CMYK); save it as grey or RGB")
    if page.dtype is None or page.dtype.kind not in "uif":
        raise DataError(f"{path} holds {page.dtype} values; save integers or floating point")
    turned = page.tags.valueof(_ORIENTATION, 1)
    if turned != 1:
        raise DataError(
            f"{path} is to be turned before it is shown (EXIF orientation {turned}), which is not "
            "done for a TIFF of this kind; save it upright"
        )
    shape = dict(zip(part.axes, part.shape, strict=True))
    limit = PillowImage.MAX_IMAGE_PIXELS
    if limit is not None and shape["Y"] * shape["X"] > 2 * limit:
        raise DataError(f"{path} claims {shape['Y'] * shape['X']} pixels; the limit is {2 * limit}")
    integer = page.dtype.kind == "u" and page.dtype.itemsize <= 2
    full_scale = int(np.iinfo(page.dtype).max) if integer else None
    channels = shape.get("S", shape.get("C", 1))
    return Header(shape["Y"], shape["X"], channels, full_scale)


def _pixels(path: Path, colours: bool) -> NDArray[Any]:
    """Pixels [height, width (, channels)]; of a palette, its colours or its indices."""
    read_header(path)  # refuses what would be read wrongly
    try:
        if _needs_tifffile(path):
            with tifffile.TiffFile(path) as stack:
                part = stack.pages.first if len(stack.pages) == 1 else stack.series[0]
                pixels = part.asarray()
                if part.axes in ("SYX", "CYX"):
                    pixels = np.moveaxis(pixels, 0, -1)
            return pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels
        # Not by its path: Pillow 13.0 maps uncompressed TIFF into memory then, and scrambles those
        # that it has to turn by a quarter.
        with path.open("rb") as file, PillowImage.open(file) as opened:
            turned = _orientation(opened) != 1
            opened.load()
            upright = ImageOps.exif_transpose(opened) if turned else opened
            if upright.mode == "P" and colours:
                return np.asarray(upright.convert("RGB"))
            return np.asarray(upright)
    except _DAMAGE as error:
        raise DataError(f"{path} is damaged or cut off: {error}") from error
