"""One encoded picture to one small array: background and composite in colour, mask in {0, 1}, depth with 0 near.

The one place where pictures are decoded, where masks are thresholded, and where it is known which end of a depth
picture is near; `levels` says what their levels mean. Pillow decides what a picture is and whether it is whole: other
decoders were seen to crash on damaged files. The ordinary JPEG, one scan after another in a data set, is decoded by
simplejpeg: libjpeg-turbo too, with the processor's vector instructions and without Python around it, and the same
pixels.

What is much larger than wanted is first brought to a half or less: a photograph while JPEG is decoded, a depth map by
averaging, once it is known to have no frame. That changes a third of what another resizing filter would, and saves a
third of the time. A mask is resized in one step, as every level near the threshold counts.
"""

import io
import math
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from maskdepth.data.pictures.levels import (
    DEEP_MODES,
    GREY_MODES,
    MASK_THRESHOLD,
    check_levels,
    convert,
    read_mask,
    to_grey,
)
from maskdepth.data.pictures.plotted_pages import find_frame, identify_colour_map, invert_colour_map
from maskdepth.data.pictures.refusal import DAMAGED, RefusedError

# What every sample has, and what it may have besides.
PICTURE_KINDS = ("background", "composite", "mask", "depth")
BACKGROUND_DEPTH = "background_depth"
COLOUR_KINDS = ("background", "composite")
_DEPTH_KINDS = ("depth", BACKGROUND_DEPTH)
# How much the ratios of width to height of two pictures of one scene may differ, a share: sizes are whole pixels.
SAME_SHAPE = 0.02

Near = Literal["dark", "bright"]
Frame = Literal["refuse", "crop", "keep"]

# 40 megapixels take 160 to 720 MB while they are decoded; the students' pictures have 0.05. Where params.yaml is read,
# it says how many.
MAX_PIXELS = 40_000_000
# Each scan of a JPEG goes over all of its pixels, and one of 1 MB can have thousands. Encoders write ten; the rest is
# for marks in what is not decoded: previews, or a short film behind the picture.
MAX_SCANS = 200

_ORIENTATION_TAG = 0x0112
_FILTER = Image.Resampling.BILINEAR  # antialiased
# So many times the wanted side is left to resize from: photographs then differ by 1.5 grey levels (docs/LOG.md).
_MARGIN = 1.5
_JPEG_FACTORS = (8, 4, 2)
_JPEG_START, _JPEG_SCAN = b"\xff\xd8\xff", b"\xff\xda"
_SCANS = re.compile(_JPEG_SCAN)  # four times as fast as counting with `bytes.count`
# APP1 holds the orientation, APP2 a colour profile or a second picture; both come before the compressed data.
_EXTRA_SEGMENTS = (b"\xff\xe1", b"\xff\xe2")
# Marks that begin no segment, and the filling byte that may stand before any mark.
_WITHOUT_LENGTH = (b"", b"\x00", b"\x01", *(bytes([code]) for code in range(0xD0, 0xDA)), b"\xff")
# What an ordinary JPEG holds, and what it is decoded to: what Pillow would open it as.
_PLAIN_JPEG_COLOURS = {"Gray": "GRAY", "YCbCr": "RGB"}
_PLAIN_MODES = (*GREY_MODES, "P", "PA", "RGB", "RGBA", "CMYK")
# All that Pillow was seen to raise on damaged pictures.
DECODE_ERRORS = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, struct.error, zlib.error)
_BOMB_ERRORS = (Image.DecompressionBombError, Image.DecompressionBombWarning)


class _Decoded(NamedTuple):
    """A picture before it is resized.

    Attributes:
        image: Upright, perhaps at a fraction of its size.
        width: [px] of the whole picture, upright.
        height: [px] likewise.
        box: [px] left, top, right and bottom of the picture in the image; where a side is no multiple of the fraction,
            only a part of the last pixels belongs to it.
    """

    image: Image.Image
    width: int
    height: int
    box: tuple[float, float, float, float]


class Picture(NamedTuple):
    """A decoded picture and its size before it was resized.

    Attributes:
        pixels: (S, S, 3) uint8 RGB of a background or composite; (S, S) uint8 of a mask {0, 1} or depth, 0 near.
        width: [px]; of a plotted page that was cropped, the width of the drawing.
        height: [px]; likewise.
    """

    pixels: npt.NDArray[np.uint8]
    width: int
    height: int


def decode_picture(
    data: bytes,
    kind: str,
    image_size: int,
    depth_near: Near,
    depth_frame: Frame = "refuse",
    max_pixels: int = MAX_PIXELS,
) -> Picture:
    """Decode a picture, turn it upright, and resize it with antialiasing.

    Args:
        data: A whole JPEG or PNG file; its name does not matter.
        kind: One of `PICTURE_KINDS`, or `BACKGROUND_DEPTH`.
        image_size: [px] S, height and width of the result.
        depth_near: Which end of the grey scale of depth pictures is near.
        depth_frame: What to do with a depth map that is a drawing on a white page: refuse it, crop it to the drawing
            and turn its colours back into levels, or keep the whole page in grey.
        max_pixels: Larger pictures are refused before they are decoded.

    Raises:
        RefusedError: It cannot be decoded, is too large, or is not of its kind.
    """
    # Depth comes whole: it may have a frame, and colours that are mixed with others are no longer those of their map.
    least_side = _MARGIN * image_size if kind in COLOUR_KINDS else math.inf
    with _refusing(max_pixels):
        decoded = _decode(data, least_side, max_pixels)
        check_levels(decoded.image, data, is_depth=kind in _DEPTH_KINDS)
        if kind == "mask":
            decoded = decoded._replace(image=_mask_levels(decoded.image, data))
        if kind in _DEPTH_KINDS and decoded.image.mode not in DEEP_MODES:
            decoded = _whole(_without_frame(decoded.image, depth_frame))
        return Picture(_pixels(decoded, kind, image_size, depth_near), decoded.width, decoded.height)


def decode_whole(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a picture at its own size and turn it upright; it keeps its channels and its depth.

    Raises:
        RefusedError: It cannot be decoded, or is too large.
    """
    with _refusing(max_pixels):
        return _decode(data, math.inf, max_pixels).image


def decode_colour(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a picture at its own size to RGB of 8 bits; refuses what `decode_whole` does."""
    image = decode_whole(data, max_pixels)
    return convert(_plain(image), "RGB")


def decode_mask(data: bytes, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.bool_]:
    """Decode a mask at its own size to (H, W), True on the object; refuses what `decode_picture` does."""
    with _refusing(max_pixels):
        image = _decode(data, math.inf, max_pixels).image
        check_levels(image, data, is_depth=False)
        return np.asarray(_mask_levels(image, data)) > MASK_THRESHOLD


@contextmanager
def _refusing(max_pixels: int) -> Iterator[None]:
    """Turn all that a decoder raises into a refusal."""
    try:
        yield
    except UnidentifiedImageError as error:
        raise RefusedError("it is not a JPEG or PNG picture", "convert it to PNG") from error
    except _BOMB_ERRORS as error:
        raise RefusedError(f"it has over {max_pixels:,} pixels", "shrink it") from error
    except RefusedError:
        raise
    except DECODE_ERRORS as error:
        raise RefusedError(f"it cannot be decoded: {error}", DAMAGED) from error


def _decode(data: bytes, least_side: float, max_pixels: int) -> _Decoded:
    if data.startswith(_JPEG_START) and _has_many_scans(data):
        raise RefusedError(f"it has over {MAX_SCANS} scans, each as long to decode as a picture", "save it again")
    return _decode_plain_jpeg(data, least_side, max_pixels) or _decode_any(data, least_side, max_pixels)


def _mask_levels(image: Image.Image, data: bytes) -> Image.Image:
    return read_mask(image, is_exact=not data.startswith(_JPEG_START))


def _has_many_scans(data: bytes) -> bool:
    """Count the marks of scans; compressed data has none by chance, as a zero follows each of its bytes of ones."""
    return next(islice(_SCANS.finditer(data), MAX_SCANS, None), None) is not None


def _decode_plain_jpeg(data: bytes, least_side: float, max_pixels: int) -> _Decoded | None:
    """Decode an ordinary JPEG; give None for any other picture, and where anything is wrong with it.

    What it gives equals what `_decode_any` would give.
    """
    if not data.startswith(_JPEG_START) or _has_extra_segments(data):
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        if height * width > max_pixels or colours not in _PLAIN_JPEG_COLOURS:
            return None
        factor = _choose_factor(width, height, least_side)
        least = {"min_height": math.ceil(height / factor), "min_width": math.ceil(width / factor)}
        pixels = simplejpeg.decode_jpeg(data, _PLAIN_JPEG_COLOURS[colours], **least)
    except ValueError:
        return None
    image = Image.fromarray(pixels[..., 0] if colours == "Gray" else pixels)
    return _Decoded(image, width, height, (0, 0, width / factor, height / factor))


def _has_extra_segments(data: bytes) -> bool:
    """Tell whether a JPEG has segments that only Pillow heeds, or cannot be followed from one to the next.

    They are gone through by their lengths: a comment, or a preview in another segment, may hold the mark of a scan.
    """
    place = 2
    while (mark := data[place : place + 2]) != _JPEG_SCAN:
        length = int.from_bytes(data[place + 2 : place + 4])
        if mark[:1] != b"\xff" or mark[1:] in _WITHOUT_LENGTH or mark in _EXTRA_SEGMENTS or length < 2:
            return True
        place += 2 + length
    return False


def _decode_any(data: bytes, least_side: float, max_pixels: int) -> _Decoded:
    """Decode a picture and turn it upright."""
    # Any library may have switched this on; half a picture would then come back filled up with grey.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    image: Image.Image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
    width, height = image.size
    if width * height > max_pixels:
        raise RefusedError(f"it has {width} x {height} pixels, over {max_pixels:,} in all", "shrink it")
    if image.mode not in _PLAIN_MODES + DEEP_MODES:
        raise RefusedError(f"its colour mode is {image.mode}", f"convert it to one of {', '.join(_PLAIN_MODES)}")
    orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    factor = _choose_factor(width, height, least_side)
    if orientation != 1 and (width % factor or height % factor):
        factor = 1  # the box would have to be turned, too
    drafted = image.draft(None, (width // factor, height // factor))  # does nothing to PNG
    box = drafted[1] if drafted else (0, 0, width, height)
    image.load()
    if orientation != 1:
        image = ImageOps.exif_transpose(image)
    if orientation in (5, 6, 7, 8):
        width, height, box = height, width, (0, 0, box[3], box[2])
    return _Decoded(image, width, height, box)


def _whole(image: Image.Image) -> _Decoded:
    return _Decoded(image, *image.size, (0, 0, *image.size))


def _choose_factor(width: int, height: int, least_side: float) -> int:
    """Choose by how much JPEG shrinks while it is decoded."""
    fitting = (factor for factor in _JPEG_FACTORS if min(width, height) >= factor * least_side)
    return next(fitting, 1)


def _without_frame(image: Image.Image, depth_frame: Frame) -> Image.Image:
    """Treat a drawing on a white page as asked; give anything else as it is."""
    plain = convert(image, "L" if image.mode in GREY_MODES else "RGB")
    box = find_frame(np.asarray(plain))
    if box is None:
        return image
    if depth_frame == "refuse":
        raise RefusedError(
            "it is a drawing on a white page, smaller than the picture that it belongs to",
            "set data.depth_frame to crop; or to keep, if it is none",
        )
    if depth_frame == "keep":
        return plain.convert("L")
    plain = plain.crop(box)  # the page may be large, and is not needed any more
    colours = np.asarray(convert(plain, "RGB"))
    colour_map = identify_colour_map(colours)
    return Image.fromarray(invert_colour_map(colours, colour_map)) if colour_map else plain


def _pixels(decoded: _Decoded, kind: str, image_size: int, depth_near: Near) -> npt.NDArray[np.uint8]:
    size, image, box = (image_size, image_size), decoded.image, decoded.box
    if kind == "mask":
        return (np.asarray(image.resize(size, _FILTER, box)) > MASK_THRESHOLD).view(np.uint8)
    if kind in COLOUR_KINDS:
        return np.asarray(convert(_plain(image), "RGB").resize(size, _FILTER, box))
    depth = np.asarray(to_grey(image, kind).resize(size, _FILTER, box, reducing_gap=_MARGIN))
    levels = depth if depth.dtype == np.uint8 else depth.round().astype(np.uint8)
    return levels if depth_near == "dark" else 255 - levels


def _plain(image: Image.Image) -> Image.Image:
    """Bring 16 bits to 8 by scaling; Pillow's own conversion clips."""
    return to_grey(image, "composite").convert("L") if image.mode in DEEP_MODES else image
