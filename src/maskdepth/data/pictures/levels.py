"""One level a pixel out of whatever a mask or a depth map was stored as: 1, 8 or 16 bits, grey as colour, alpha.

Masks are stored as white on black, as ones on zeros, or in the alpha channel; all of these are read. What could mean
two things, or comes out black only because it was scaled wrongly, is refused: nobody would see it later.
"""

import numpy as np
from PIL import Image, ImageChops

from maskdepth.data.pictures.refusal import RefusedError

# A mask pixel belongs to the object above this grey level.
MASK_THRESHOLD = 127
# Grey stored as RGB stays grey to within this many levels through JPEG; a colour map is off by a hundred.
GREY_TOLERANCE = 8

DEEP_MODES = ("I;16", "I;16B", "I")
GREY_MODES = ("1", "L", "LA")
_WHITE, _DEEPEST = 255, 65535

PNG_START = b"\x89PNG"
# Where a PNG says how many bits a channel has, and which channels; Pillow keeps the upper byte of these alone.
_PNG_BITS, _PNG_COLOURS = 24, 25
_SEVERAL_CHANNELS = (2, 4, 6)


def to_grey(image: Image.Image, kind: str) -> Image.Image:
    """Reduce to one channel; 16 bits are kept as float, [0, 255], so that resizing rounds once.

    Raises:
        RefusedError: It is coloured, or so dark that its levels were meant for fewer bits.
    """
    if image.mode in DEEP_MODES:
        levels = np.asarray(image, np.float32)  # a copy: no deep mode is float
        if 0 < levels.max() <= _WHITE:
            raise _too_dark(f"its 16 bits hold nothing above {_WHITE} of {_DEEPEST}")
        levels *= np.float32(_WHITE / _DEEPEST)
        return Image.fromarray(levels)
    if image.mode in GREY_MODES:
        return convert(image, "L")
    red, green, blue = convert(image, "RGB").split()
    pairs = ((red, green), (green, blue))
    difference = max(int(np.asarray(ImageChops.difference(*pair)).max()) for pair in pairs)
    if difference > GREY_TOLERANCE:
        raise RefusedError(
            f"its channels differ by up to {difference} grey levels, but a {kind} has one value a pixel",
            "save it in grey, without a colour map",
        )
    return green


def read_mask(image: Image.Image, *, is_exact: bool) -> Image.Image:
    """Bring a mask to levels [0, 255], of which the upper half is the object.

    Args:
        image: As it was stored.
        is_exact: Whether it keeps every level; JPEG does not, so that its ones are noise.

    Raises:
        RefusedError: It is no mask, or could be read in two ways.
    """
    if image.mode in DEEP_MODES:
        levels = np.asarray(image)
        brightest = int(levels.max())
        if brightest in (1, _WHITE) and ((levels == 0) | (levels == brightest)).all():
            return Image.fromarray((levels == brightest) * np.uint8(_WHITE))
    grey = _read_alpha(image) if image.has_transparency_data else to_grey(image, "mask")
    # Of 16 bits, and of JPEG, the brightest is enough: all of them would be a long list.
    listed = grey.histogram() if is_exact and grey.mode == "L" else []
    found: list[float] = [level for level, count in enumerate(listed) if count] or [_brightest(grey)]
    if is_exact and found in ([0, 1], [1]):
        return grey.point([0] + [_WHITE] * _WHITE)
    if is_exact and found in ([0, 1, _WHITE], [1, _WHITE]):
        raise RefusedError(f"its levels are 0, 1 and {_WHITE}, so nothing says which the object is", "use two levels")
    if 0 < found[-1] <= MASK_THRESHOLD:
        raise _too_dark(f"its brightest level is {found[-1]:.0f} of {_WHITE}, an object is above {MASK_THRESHOLD}")
    return grey


def check_levels(image: Image.Image, data: bytes, *, is_depth: bool) -> None:
    """Refuse what is black, or nearly so, because its levels were meant for another number of bits.

    Args:
        image: As it was decoded.
        data: The file.
        is_depth: Whether it is a depth map, of which levels 0 and 1 alone say nothing.

    Raises:
        RefusedError: Its levels were lost, or say nothing.
    """
    is_deep = data.startswith(PNG_START) and data[_PNG_BITS] == 16 and data[_PNG_COLOURS] in _SEVERAL_CHANNELS
    if is_deep and not convert(image, "RGB").getbbox():
        raise _too_dark(f"its channels of 16 bits hold nothing above {_WHITE} of {_DEEPEST}")
    if not is_depth or image.mode not in GREY_MODES:
        return
    grey = convert(image, "L")
    # Of most maps the first pixel tells already.
    if grey.getpixel((0, 0)) in (0, 1) and grey.getextrema() == (0, 1):
        raise _too_dark(f"its levels are 0 and 1 of {_WHITE}")


def convert(image: Image.Image, mode: str) -> Image.Image:
    """Bring to a mode; Pillow's own conversion copies a picture that has it already."""
    return image if image.mode == mode else image.convert(mode)


def _read_alpha(image: Image.Image) -> Image.Image:
    """Take the mask from the alpha channel where the colours are all the same, and from the colours where alpha is."""
    rgba = image.convert("RGBA")
    alpha, colours = rgba.getchannel("A"), rgba.convert("RGB")
    if _is_flat(alpha):
        return to_grey(colours, "mask")
    if all(map(_is_flat, colours.split())):
        return alpha
    grey = to_grey(colours, "mask")
    if ((np.asarray(grey) > MASK_THRESHOLD) != (np.asarray(alpha) > MASK_THRESHOLD)).any():
        raise RefusedError("its colours and its alpha channel are two masks", "leave one of them")
    return grey


def _brightest(levels: Image.Image) -> float:
    return float(np.asarray(levels).max())


def _is_flat(channel: Image.Image) -> bool:
    return len(set(channel.getextrema())) == 1


def _too_dark(reason: str) -> RefusedError:
    return RefusedError(reason, "save it with 8 bits, its levels spread from 0 to 255")
