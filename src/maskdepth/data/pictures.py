"""One encoded picture to one small array: background and composite in colour, mask in {0, 1}, depth with 0 near.

The one place where pictures are decoded, where masks are thresholded, and where it is known which end of a depth
picture is near. Pillow decodes: other decoders were seen to crash on damaged files.
"""

import io
import struct
import zlib
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from maskdepth.data.framed import find_frame, identify_colour_map, invert_colour_map
from maskdepth.data.zips import DAMAGED, RefusedError

PICTURE_KINDS = ("background", "composite", "mask", "depth")
COLOUR_KINDS = ("background", "composite")

Near = Literal["dark", "bright"]
Frame = Literal["refuse", "crop", "keep"]

# 40 megapixels take 120 MB as RGB; the students' pictures have 0.05.
MAX_PIXELS = 40_000_000
# A mask pixel belongs to the object above this grey level.
MASK_THRESHOLD = 127
# Grey stored as RGB stays grey to within this many levels through JPEG; a colour map is off by a hundred.
GREY_TOLERANCE = 8

_ORIENTATION_TAG = 0x0112
_DEEP_MODES = ("I;16", "I;16B", "I")
_DEEPEST = 65535
_GREY_MODES = ("1", "L", "LA")
_PLAIN_MODES = (*_GREY_MODES, "P", "PA", "RGB", "RGBA", "CMYK")
# All that Pillow was seen to raise on damaged pictures.
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, struct.error, zlib.error)
_BOMB_ERRORS = (Image.DecompressionBombError, Image.DecompressionBombWarning)


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


def decode_picture(data: bytes, kind: str, image_size: int, depth_near: Near, depth_frame: Frame = "refuse") -> Picture:
    """Decode a picture, turn it upright, and resize it with antialiasing.

    Args:
        data: A whole JPEG or PNG file; its name does not matter.
        kind: One of `PICTURE_KINDS`.
        image_size: [px] S, height and width of the result.
        depth_near: Which end of the grey scale of depth pictures is near.
        depth_frame: What to do with a depth map that is a drawing on a white page: refuse it, crop it to the drawing
            and turn its colours back into levels, or keep the whole page in grey.

    Raises:
        RefusedError: It cannot be decoded, is too large, or is not of its kind.
    """
    # Any library may have switched this on; half a picture would then come back filled up with grey.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
        return _decode(image, kind, image_size, depth_near, depth_frame)
    except UnidentifiedImageError as error:
        raise RefusedError("it is not a JPEG or PNG picture", "convert it to PNG") from error
    except _BOMB_ERRORS as error:
        raise RefusedError(f"it has over {MAX_PIXELS:,} pixels", "shrink it") from error
    except RefusedError:
        raise
    except _DECODE_ERRORS as error:
        raise RefusedError(f"it cannot be decoded: {error}", DAMAGED) from error


def _decode(image: Image.Image, kind: str, image_size: int, depth_near: Near, depth_frame: Frame) -> Picture:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise RefusedError(f"it has {width} x {height} pixels, over {MAX_PIXELS:,} in all", "shrink it")
    if image.mode not in _PLAIN_MODES + _DEEP_MODES:
        raise RefusedError(f"its colour mode is {image.mode}", f"convert it to one of {', '.join(_PLAIN_MODES)}")
    # JPEG can decode to a half, quarter or eighth: only used while twice the wanted size is left to resize from. Depth
    # comes whole, as it may have a frame, and colours that are mixed with others are no longer those of their map.
    if kind != "depth":
        image.draft(None, (2 * image_size, 2 * image_size))
    image.load()
    orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    if orientation != 1:
        image = ImageOps.exif_transpose(image)
    if orientation in (5, 6, 7, 8):
        width, height = height, width
    if kind == "depth" and image.mode not in _DEEP_MODES:
        image = _without_frame(image, depth_frame)
        width, height = image.size
    return Picture(_pixels(image, kind, image_size, depth_near), width, height)


def _without_frame(image: Image.Image, depth_frame: Frame) -> Image.Image:
    """Treat a drawing on a white page as asked; give anything else as it is."""
    plain = image.convert("L" if image.mode in _GREY_MODES else "RGB")
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
    drawing = plain.crop(box)
    colours = np.asarray(drawing.convert("RGB"))
    colour_map = identify_colour_map(colours)
    return Image.fromarray(invert_colour_map(colours, colour_map)) if colour_map else drawing


def _pixels(image: Image.Image, kind: str, image_size: int, depth_near: Near) -> npt.NDArray[np.uint8]:
    if kind in COLOUR_KINDS:
        return np.asarray(_resize(_plain(image).convert("RGB"), image_size))
    grey = np.asarray(_resize(_grey(image, kind), image_size))
    if kind == "mask":
        return (grey > MASK_THRESHOLD).astype(np.uint8)
    levels = grey.round().astype(np.uint8)
    return levels if depth_near == "dark" else 255 - levels


def _grey(image: Image.Image, kind: str) -> Image.Image:
    """Reduce to one channel; 16 bits are kept as float, [0, 255], so that resizing rounds once."""
    if image.mode in _DEEP_MODES:
        return Image.fromarray(np.asarray(image, np.float32) * np.float32(255 / _DEEPEST))
    if image.mode in _GREY_MODES:
        return image.convert("L")
    red, green, blue = (np.asarray(channel, np.int16) for channel in image.convert("RGB").split())
    difference = max(int(abs(red - green).max()), int(abs(green - blue).max()))
    if difference > GREY_TOLERANCE:
        raise RefusedError(
            f"its channels differ by up to {difference} grey levels, but a {kind} has one value a pixel",
            "save it in grey, without a colour map",
        )
    return image.convert("RGB").getchannel("G")


def _plain(image: Image.Image) -> Image.Image:
    """Bring 16 bits to 8 by scaling; Pillow's own conversion clips."""
    return _grey(image, "composite").convert("L") if image.mode in _DEEP_MODES else image


def _resize(image: Image.Image, image_size: int) -> Image.Image:
    return image.resize((image_size, image_size), Image.Resampling.BILINEAR)
