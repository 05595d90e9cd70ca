"""Where an object is put on a background, and how near it is: pure functions of a generator and sizes.

`uniform` puts it anywhere inside; `ground` stands it on the lower part of the picture, smaller the farther away.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Depth = npt.NDArray[np.float32]

# Row of the horizon, and the highest row that feet stand on, as shares of the picture's height from its top: objects
# measure a third there of what they measure at the lower edge.
_HORIZON = 0.4
_HIGHEST_FOOT = 0.6
_SMALLEST_SCALE = (_HIGHEST_FOOT - _HORIZON) / (1 - _HORIZON)
_SMALLEST = 2  # [px]
_TRIES = 12  # places looked at before one is moved inside

# Relative depth by which an object is nearer than what it stands on or covers.
_MARGIN = 0.05
# Share of what an object covers that may be nearer than it: measured depth has specks.
_COVERED = 0.1


class Place(NamedTuple):
    """The rectangle of a background that a cut-out takes [px]."""

    left: int
    top: int
    width: int
    height: int


def place_uniform(rng: np.random.Generator, size: int, tall: int, proportion: float, depth: Depth | None) -> Place:
    """Put an object anywhere inside, column and row drawn independently of each other.

    Args:
        rng: Source of the place.
        size: Height and width of the background [px].
        tall: Height of the object [px], at most `size`.
        proportion: Width of the object in heights; the object is no wider than `size`.
        depth: Depth of the background, not looked at.
    """
    width = width_of(tall, proportion)
    left, top = rng.integers([size - width + 1, size - tall + 1])
    return Place(int(left), int(top), width, tall)


def place_on_ground(rng: np.random.Generator, size: int, tall: int, proportion: float, depth: Depth | None) -> Place:
    """Stand an object on the lower part of a picture, as large as the row of its foot says, or the depth there.

    Args:
        rng: Source of the place.
        size: Height and width of the background [px].
        tall: Height of the object where it is largest [px], at most `size`.
        proportion: Width of the object in heights; the object is no wider than `size`.
        depth: (size, size) relative depth of the background, [0, 1], 0 near, linear in inverse distance; or None.
    """
    place = Place(0, 0, 0, 0)
    for _ in range(_TRIES):
        foot = int(rng.integers(math.ceil(_HIGHEST_FOOT * size), size + 1))
        column = int(rng.integers(size))
        scale = _scale_at(foot / size) if depth is None else _scale_on(depth, foot - 1, column)
        height = max(round(scale * tall), _SMALLEST)
        width = width_of(height, proportion)
        place = Place(column - width // 2, foot - height, width, height)
        if place.top >= 0 and 0 <= place.left <= size - width:
            return place
    return place._replace(left=min(max(place.left, 0), size - place.width), top=max(place.top, 0))


RULES: dict[str, Callable[[np.random.Generator, int, int, float, Depth | None], Place]] = {
    "uniform": place_uniform,
    "ground": place_on_ground,
}


def width_of(height: int, proportion: float) -> int:
    """Width of an object of this height [px]."""
    return max(round(proportion * height), 1)


def object_plane(depth: Depth, alpha: npt.NDArray[np.uint8], place: Place) -> float:
    """Relative depth, [0, 1], of an object: a little nearer than what it stands on, and than what it covers.

    Args:
        depth: (H, W) relative depth of the background, [0, 1], 0 near.
        alpha: (h, w) opacity of the object, not 0 everywhere.
        place: Where the object is.

    >>> depth = np.array([[0.9, 0.9], [0.5, 0.7]], np.float32)
    >>> round(object_plane(depth, np.array([[255], [255]], np.uint8), Place(1, 0, 1, 2)), 2)
    0.65
    """
    is_object = alpha > alpha.max() // 2
    under = depth[place.top : place.top + place.height, place.left : place.left + place.width]
    lowest = np.flatnonzero(is_object.any(axis=1))[-1]
    ground = float(np.median(under[lowest][is_object[lowest]]))
    covered = float(np.quantile(under[is_object], _COVERED))
    return max(min(ground, covered) - _MARGIN, 0.0)


def _scale_at(foot: float) -> float:
    """How large an object looks whose foot is in this row, a share of the picture's height: flat ground, level camera.

    >>> round(_scale_at(0.6), 3), _scale_at(1.0)
    (0.333, 1.0)
    """
    return (foot - _HORIZON) / (1 - _HORIZON)


def _scale_on(depth: Depth, row: int, column: int) -> float:
    """How large an object looks that stands on this pixel: as many times smaller as the nearest ground is nearer."""
    nearness = 1 - float(depth[row, column])
    nearest = 1 - float(depth[math.ceil(_HIGHEST_FOOT * len(depth)) - 1 :].min())
    return max(nearness / nearest, _SMALLEST_SCALE) if nearest > 0 else 1.0
