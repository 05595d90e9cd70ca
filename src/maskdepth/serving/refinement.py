"""A mask at a picture's own size: what the network saw coarsely is drawn along what differs between the two pictures.

A guided filter (He, Sun and Tang 2013): around every point the mask is a straight line in the difference, fitted where
the network has looked and drawn where the picture is finer (He and Sun 2015, Fast guided filter). Thin parts come back,
and outlines stand where colours change.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops
from scipy import ndimage

Pixels = NDArray[np.uint8]
Map = NDArray[np.float32]

# Differences of so many levels and more are alike: an object is where there is one, however large it is.
_BENDS_AT = 0.3 * 255
_CURVE = np.arange(256) / (np.arange(256) + _BENDS_AT)
# The same as levels of a picture, and back.
_LEVELS = (255 * _CURVE / _CURVE[-1]).round().astype(np.uint8).tolist()
_SCALE = np.float32(_CURVE[-1] / 255)
# Points to each side over which a line is fitted, and the variance of the difference that is noise.
_RADIUS, _NOISE = 1, 1e-3
# Below this no line is drawn: most of a picture is far from the object.
_NOTHING = 0.01


def refine_mask(mask_prob: Map, background: Pixels, composite: Pixels) -> Map:
    """Bring a mask to the size of its composite; pure.

    Args:
        mask_prob: (h, w) probability that a point belongs to the object, [0, 1], over the whole picture.
        background: (H, W, 3) uint8 RGB as it lies under the composite.
        composite: (H, W, 3) uint8 RGB.

    Returns:
        (H, W) probability, [0, 1]; where the picture has no more points than the mask, that of the network.
    """
    height, width = composite.shape[:2]
    points = mask_prob.shape
    if height <= points[0] and width <= points[1]:
        return _enlarge(mask_prob, (0, 0, width, height), width, height).clip(0, 1)
    refined = np.zeros((height, width), np.float32)
    box = _find_box(mask_prob, width, height)
    if box is None:
        return refined
    difference = _difference(background, composite)
    slope, level = _fit_lines(mask_prob, np.asarray(difference.resize(points[::-1], Image.Resampling.BILINEAR)))
    left, top, right, bottom = box
    inside = np.asarray(difference.crop(box), np.float32)
    inside *= _enlarge(slope * _SCALE, box, width, height)
    inside += _enlarge(level, box, width, height)
    refined[top:bottom, left:right] = inside.clip(0, 1, out=inside)
    return refined


def _difference(background: Pixels, composite: Pixels) -> Image.Image:
    """Give the largest difference of the three channels, bent: (H, W), [0, 255]."""
    red, green, blue = ImageChops.difference(Image.fromarray(background), Image.fromarray(composite)).split()
    return ImageChops.lighter(ImageChops.lighter(red, green), blue).point(_LEVELS)


def _find_box(mask_prob: Map, width: int, height: int) -> tuple[int, int, int, int] | None:
    """Find the part of a picture in which lines are drawn: left, top, right, bottom [px]; None where there is none."""
    near = ndimage.maximum_filter(mask_prob, 4 * _RADIUS + 1) > _NOTHING
    if not near.any():
        return None
    sides = []
    for axis, side in ((0, width), (1, height)):
        along = np.flatnonzero(near.any(axis))
        points = near.shape[1 - axis]
        sides.append((along[0] * side // points, -(-(along[-1] + 1) * side // points)))
    (left, right), (top, bottom) = ((int(low), int(high)) for low, high in sides)
    return left, top, right, bottom


def _fit_lines(mask_prob: Map, difference: Pixels) -> tuple[Map, Map]:
    """Fit mask = slope * difference + level around every point, (h, w) each."""
    changed = difference.astype(np.float32) * _SCALE
    mean_changed, mean_mask = _average(changed), _average(mask_prob)
    covariance = _average(changed * mask_prob) - mean_changed * mean_mask
    variance = _average(changed * changed) - mean_changed * mean_changed
    slope = covariance / (variance + _NOISE)
    return _average(slope), _average(mean_mask - slope * mean_changed)


def _average(values: NDArray[Any]) -> Map:
    return np.asarray(ndimage.uniform_filter(values, 2 * _RADIUS + 1, mode="nearest"), np.float32)


def _enlarge(values: Map, box: tuple[int, int, int, int], width: int, height: int) -> Map:
    """Interpolate values (h, w) of a whole picture at the pixels of a box of it."""
    left, top, right, bottom = box
    down, across = values.shape[0] / height, values.shape[1] / width
    part = left * across, top * down, right * across, bottom * down
    image = Image.fromarray(np.ascontiguousarray(values, np.float32))
    return np.array(image.resize((right - left, bottom - top), Image.Resampling.BILINEAR, part))
