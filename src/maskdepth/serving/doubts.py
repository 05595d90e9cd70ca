"""What makes a prediction doubtful, in a line each: which picture, what is wrong with it, and what a person can do.

Pictures are judged as the network sees them: what shows at its size is what it could know.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from maskdepth.data.index.background_depths import find_contradiction
from maskdepth.data.pictures.refusal import RefusedError

Pixels = NDArray[np.uint8]
Map = NDArray[np.float32]

# Contrast below this share of that of the training pictures, and a mean so many of its standard deviations away; of
# photographs shown to a network that had learned from drawings, the farthest had 0.6 and 2.2.
_FLAT, _FAR = 0.2, 2.5
# Detail of one point beside that of four; sharp photographs have 0.34 and more, and 0.16 with a blur of one point.
_BLURRED = 0.22
_FINE, _COARSE = 3, 9  # [points] windows over which that is measured
# Longer side by shorter side, above which it was not measured that squeezing a picture to a square costs nothing.
_LONGEST = 3.5
# Logarithm of how much steeper the composite is along the outline than the background. Of 398 pairs in the right order
# the lowest had -0.05, of as many that were swapped the highest but three were below.
_SWAPPED = -0.2


def refuse_same(background: Pixels, composite: Pixels) -> None:
    """Refuse a picture that was given twice.

    Raises:
        RefusedError: All pixels are equal.
    """
    if np.array_equal(background, composite):
        raise RefusedError("background and composite are the same picture", "name the one with the object second")


def doubt_picture(name: str, seen: Pixels, mean: NDArray[np.float64], std: NDArray[np.float64]) -> Iterator[str]:
    """Say what is unlike all that the network has learned from.

    Args:
        name: What to call the picture.
        seen: (S, S, 3) RGB, as the network sees it.
        mean: (3,) of the training pictures of its kind, RGB, [0, 1].
        std: (3,) their standard deviation.
    """
    pixels = seen.astype(np.float32) / 255
    if (pixels.std((0, 1)) / std).max() < _FLAT:
        yield f"{name} shows next to nothing, unlike anything in training; take it in more even light"
        return
    away = ((pixels.mean((0, 1)) - mean) / std).mean()
    if abs(away) > _FAR:
        yield f"{name} is {'brighter' if away > 0 else 'darker'} than anything in training; expose it anew"
    if _measure_detail(seen) < _BLURRED:
        yield f"{name} is blurred, unlike anything in training; take it again, sharp"


def doubt_shape(name: str, width: int, height: int) -> Iterator[str]:
    """Say that a picture is squeezed a lot: the network sees all of them as squares."""
    ratio = max(width, height) / min(width, height)
    if ratio > _LONGEST:
        yield f"{name} is {ratio:.1f} times as long as it is wide, and the network sees it squeezed; crop it"


def doubt_background_depth(name: str, given: Pixels, seen: Map, mask_prob: Map) -> Iterator[str]:
    """Say that a depth map is not that of the background, by what the network makes of the pictures alone.

    Args:
        name: What to call the map.
        given: (S, S) depth of the background, 0 near.
        seen: (S, S) depth of the scene as the network predicts it where the background's is not known, 0 near.
        mask_prob: (S, S) probability of the object, [0, 1].
    """
    free = mask_prob <= 0.5
    contradiction, correlation = find_contradiction(given[free].astype(np.float64), 255 * seen[free].astype(np.float64))
    if contradiction == "turned round":
        yield f"{name} seems to have near and far the other way round (correlation {correlation:.2f}); dark is near"
    elif contradiction:
        yield f"{name} seems to be the depth of another scene (correlation {correlation:.2f}); name that of this one"


def doubt_object(names: tuple[str, str], background: Pixels, composite: Pixels, mask_prob: Map) -> Iterator[str]:
    """Say that there is no object, or that it stands in the background: its outline is an edge there, and only there.

    Args:
        names: Of background and composite.
        background: (S, S, 3) RGB, as the network sees it.
        composite: (S, S, 3) RGB.
        mask_prob: (S, S) probability of the object, [0, 1].
    """
    mask = mask_prob > 0.5
    if not mask.any():
        yield f"no object found; is there one in {names[1]} that is not in {names[0]}?"
        return
    outline = ndimage.binary_dilation(mask) & ~ndimage.binary_erosion(mask)
    steepness = [np.median(_find_edges(picture)[outline]) + 1 for picture in (composite, background)]
    if np.log(steepness[0] / steepness[1]) < _SWAPPED:
        yield f"the object seems to be in {names[0]} and not in {names[1]}; swap the two"


def _measure_detail(seen: Pixels) -> float:
    """Compare what changes from point to point with what changes over some: 1 is noise, 0 is fog."""
    grey = seen.mean(2, dtype=np.float32)
    fine, coarse = (grey - ndimage.uniform_filter(grey, window) for window in (_FINE, _COARSE))
    return float(fine.std() / max(float(coarse.std()), 1.0))


def _find_edges(picture: Pixels) -> Map:
    """Give the steepest slope of the three channels at every point, (S, S) [grey levels a point]."""
    down, across = np.gradient(picture.astype(np.float32), axis=(0, 1))
    slopes: Map = np.hypot(down, across).max(2)
    return slopes
