"""Depth maps that were published as drawings: a colour map inside the white frame of a plotted page.

The drawing is smaller than the picture that it belongs to and its grey is wrong, so a page must not be taken for a
depth map. Here it is found, and its colours are turned back into the levels that they stand for.
"""

from functools import cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

COLOUR_MAPS_FILE = "colour_maps.csv"

# The brightest colours of the maps have luma 221, and the paper has 255; compression blurs the step by a few levels.
_PAPER_LUMA = 238
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as in JPEG
# The frame is at least this wide, and the drawing at least this large, as shares of the page's side.
_FRAME_SHARE = 0.02
_DRAWING_SHARE = 0.25
# A part of a drawing may be as bright as paper, as the sky of a grey one is; axes leave little ink outside of it.
_INK_INSIDE = 0.7
_INK_OUTSIDE = 0.1
# The edges of a drawing are sharp ones, but for one that may be lost in such a part. A round object before a white
# background has nearly as much ink behind the edges of its box as before them.
_INK_BEFORE_EDGE = 0.8
_INK_BEHIND_EDGE = 0.25  # JPEG leaves some
_SHARP_EDGES = 3
# Mean distance [levels] of pixels from the colours of their map: 17 in the worst JPEG; from any other map over 50.
_MAP_DISTANCE = 30
_SAMPLE_STEP = 7  # every so many pixels are enough to tell the maps apart
# JPEG keeps colour at half resolution and mixes the paper into the drawing this far [px].
_BLEED = 2
# So many pixels are compared with all colours at a time: what fits into the processor's cache, and is too little for
# the BLAS library to start threads, which wait for each other on a busy machine.
_BLOCK = 256
# The same for luma: NumPy brings what it multiplies to float32, four times as large, first.
_LUMA_BLOCK = 2**16


class Box(NamedTuple):
    """A rectangle of pixels; `right` and `bottom` are the first ones outside."""

    left: int
    top: int
    right: int
    bottom: int


def find_frame(pixels: Pixels) -> Box | None:
    """Find the drawing on a plotted page.

    Args:
        pixels: (H, W, 3) RGB or (H, W) grey.

    Returns:
        The rectangle of the drawing; None if the picture is no page: nothing white all around, or what is inside is no
        filled rectangle.
    """
    # Most pictures are no page, which their outermost pixels tell in no time and without memory.
    if any(_is_ink(edge).any() for edge in (pixels[:1], pixels[-1:], pixels[:, :1], pixels[:, -1:])):
        return None
    ink = _is_ink(pixels)
    if not ink.any():
        return None
    (top, bottom), (left, right) = _extent(ink.mean(1)), _extent(ink.mean(0))
    box = Box(left, top, right, bottom)
    height, width = ink.shape
    is_framed = min(left, width - right) > _FRAME_SHARE * width and min(top, height - bottom) > _FRAME_SHARE * height
    is_large = right - left >= _DRAWING_SHARE * width and bottom - top >= _DRAWING_SHARE * height
    return box if is_framed and is_large and _is_filled(ink, box) and _is_sharp(ink, box) else None


def identify_colour_map(pixels: Pixels) -> str | None:
    """Tell by which known colour map a drawing was made; None if it is grey or in other colours.

    Args:
        pixels: (H, W, 3) RGB of the drawing alone.
    """
    sample = pixels.reshape(-1, 3)[::_SAMPLE_STEP]
    distances = {}
    for name, colours in _read_colour_maps().items():
        nearest = colours[_nearest_levels(sample, colours)].astype(np.float32)
        distances[name] = float(np.linalg.norm(nearest - sample, axis=-1).mean())
    best = min(distances, key=lambda name: distances[name])
    return best if distances[best] <= _MAP_DISTANCE else None


def invert_colour_map(pixels: Pixels, name: str) -> Pixels:
    """Give every pixel the level whose colour is nearest to its own.

    The outermost pixels, into which the frame bleeds, repeat their inner neighbours.

    Args:
        pixels: (H, W, 3) RGB of the drawing alone, more than 4 pixels a side.
        name: One that `identify_colour_map` gives.

    Returns:
        (H, W) levels, 0 for the first colour of the map and 255 for the last.
    """
    inner = pixels[_BLEED:-_BLEED, _BLEED:-_BLEED]
    levels = _nearest_levels(inner.reshape(-1, 3), _read_colour_maps()[name])
    return np.asarray(np.pad(levels.reshape(inner.shape[:2]), _BLEED, mode="edge"))


@cache
def _read_colour_maps() -> dict[str, Pixels]:
    """Read the (256, 3) RGB colours of each known map by its name."""
    text = (files("maskdepth.data.pictures") / COLOUR_MAPS_FILE).read_text(encoding="utf-8")
    header, *lines = text.splitlines()
    names = [column.removesuffix("_red") for column in header.split(",")[::3]]
    table = np.loadtxt(lines, np.uint8, delimiter=",")  # (256, 3 per map)
    return dict(zip(names, np.split(table, len(names), axis=1), strict=True))


def _nearest_levels(pixels: Pixels, colours: Pixels) -> Pixels:
    """Find the row of `colours` (256, 3) that is nearest to each of `pixels` (N, 3)."""
    # |p - c|^2 is least where p.c - |c|^2 / 2 is largest; all numbers are small enough to be exact in float32.
    table = colours.T.astype(np.float32)  # (3, 256)
    table = np.concatenate([table, -(table**2).sum(0, keepdims=True) / 2])
    points = np.ones((_BLOCK, 4), np.float32)
    levels = np.empty(len(pixels), np.uint8)
    for start in range(0, len(pixels), _BLOCK):
        block = pixels[start : start + _BLOCK]
        points[: len(block), :3] = block
        levels[start : start + _BLOCK] = (points[: len(block)] @ table).argmax(1)
    return levels


def _is_ink(pixels: Pixels) -> npt.NDArray[np.bool_]:
    if pixels.ndim == 2:
        return np.asarray(pixels < _PAPER_LUMA)
    rows = max(1, _LUMA_BLOCK // pixels.shape[1])
    blocks = (pixels[row : row + rows] for row in range(0, len(pixels), rows))
    return np.concatenate([block @ _LUMA < _PAPER_LUMA for block in blocks])


def _extent(shares: npt.NDArray[np.float64]) -> tuple[int, int]:
    """Give the first line that holds over half as much ink as the fullest, and the first one after the last such."""
    full = np.flatnonzero(shares > shares.max() / 2)
    return int(full[0]), int(full[-1]) + 1


def _is_filled(ink: npt.NDArray[np.bool_], box: Box) -> bool:
    inside = ink[box.top : box.bottom, box.left : box.right]
    outside = int(ink.sum()) - int(inside.sum())
    return bool(inside.mean() >= _INK_INSIDE) and outside <= _INK_OUTSIDE * (ink.size - inside.size)


def _is_sharp(ink: npt.NDArray[np.bool_], box: Box) -> bool:
    """Tell whether the lines just inside the box hold much ink, and those a little outside hold little."""
    inside = ink[box.top : box.bottom, box.left : box.right]
    around = ink[max(0, box.top - _BLEED) : box.bottom + _BLEED, max(0, box.left - _BLEED) : box.right + _BLEED]
    full = [line.mean() for line in (inside[0], inside[-1], inside[:, 0], inside[:, -1])]
    empty = [line.mean() for line in (around[0], around[-1], around[:, 0], around[:, -1])]
    edges = zip(full, empty, strict=True)
    num_sharp = sum(before >= _INK_BEFORE_EDGE and behind <= _INK_BEHIND_EDGE for before, behind in edges)
    return bool(num_sharp >= _SHARP_EDGES)
