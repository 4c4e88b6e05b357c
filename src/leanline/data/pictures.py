"""Reading one picture file: PNG, TIFF or JPEG; 8 or 16 bits or floating point; grey or colour."""

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
from PIL import UnidentifiedImageError
from torch import Tensor

from leanline.errors import DataError

SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg")
_TIFF = (".tif", ".tiff")
_JPEG = (".jpg", ".jpeg")
_BITS_PER_SAMPLE = 258  # a tag of TIFF
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
    """Reads a picture as [height, width] or [height, width, 3], in the dtype of the file.

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
            f"{path} is a colour picture; labels must be class ids in a grey or palette picture"
        )
    if not (np.issubdtype(pixels.dtype, np.integer) or pixels.dtype == np.bool_):
        raise DataError(
            f"{path} holds {pixels.dtype} values; labels must be whole numbers (8 or 16 bits)"
        )
    return torch.from_numpy(pixels.astype(np.int64))


def _needs_tifffile(path: Path) -> bool:
    """Whether a file is a TIFF that Pillow cannot open, or not as it is.

    Of 16-bit colours Pillow keeps 8 bits; it makes int32 of int16 and uint32.
    """
    if path.suffix.lower() not in _TIFF:
        return False
    try:
        with PillowImage.open(path) as opened:
            bits = getattr(opened, "tag_v2", {}).get(_BITS_PER_SAMPLE, (8,))
            loses_bits = opened.mode == "RGB" and int(np.max(bits)) > 8
            return loses_bits or opened.mode == "I" or opened.mode not in (*_GREY, *_COLOUR)
    except UnidentifiedImageError:
        return True


def _pillow_header(path: Path, opened: Any) -> Header:
    width, height = opened.size
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


def _png_bits(path: Path) -> int:
    with path.open("rb") as file:
        return file.read(25)[24]


def _tiff_header(path: Path, stack: tifffile.TiffFile) -> Header:
    if len(stack.pages) != 1:
        raise DataError(f"{path} holds {len(stack.pages)} pictures; save one a file")
    page = stack.pages.first
    if page.axes not in ("YX", "YXS", "SYX"):
        raise DataError(f"{path} has the axes {page.axes!r}; save one grey or RGB picture a file")
    shape = dict(zip(page.axes, page.shape, strict=True))
    limit = PillowImage.MAX_IMAGE_PIXELS
    if limit is not None and shape["Y"] * shape["X"] > 2 * limit:
        raise DataError(f"{path} claims {shape['Y'] * shape['X']} pixels; the limit is {2 * limit}")
    channels = shape.get("S", 1)
    if channels not in (1, 3):
        raise DataError(f"{path} has {channels} channels; save it as grey or RGB")
    integer = page.dtype is not None and page.dtype.kind == "u" and page.dtype.itemsize <= 2
    full_scale = int(np.iinfo(page.dtype).max) if integer and page.dtype is not None else None
    return Header(shape["Y"], shape["X"], channels, full_scale)


def _pixels(path: Path, colours: bool) -> NDArray[Any]:
    """Pixels [height, width] or [height, width, 3]; of a palette, its colours or its indices."""
    header = read_header(path)
    try:
        if _needs_tifffile(path):
            with tifffile.TiffFile(path) as stack:
                pixels = stack.pages.first.asarray()
            if pixels.ndim == 3 and pixels.shape[0] == header.channels != pixels.shape[-1]:
                pixels = np.moveaxis(pixels, 0, -1)
            return pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels
        with PillowImage.open(path) as opened:
            opened.load()
            if opened.mode == "P" and colours:
                return np.asarray(opened.convert("RGB"))
            return np.asarray(opened)
    except _DAMAGE as error:
        raise DataError(f"{path} is damaged or cut off: {error}") from error
