"""From what a depth network sees to a depth label in [0, 1]: the arithmetic, on plain arrays.

A map of distance here is any map whose larger values are farther, in any unit, up to a scale and a shift: metres as
well as the negative of an inverse depth. Putting an object into a picture rescales all that a network says about it;
therefore a composite's map is first brought to that of its background, on the pixels that both pictures share, and
then all composites of one background are normalised by the range of that background.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.ndimage import maximum_filter

from maskdepth.data.pictures.refusal import RefusedError

Distance = npt.NDArray[np.float64]
Marked = npt.NDArray[np.bool_]

# A few wild pixels (a highlight, a mirror, the picture's frame) must not set the range of a whole picture.
PERCENTILES = (2.0, 98.0)
# The border of an object, as a share of the height: its soft edge, and where networks smear its depth over the scene.
BORDER_SHARE = 0.05
# Fewer shared pixels than this share of a picture say too little about the scale.
_FEWEST_SHARED = 0.01


class Label(NamedTuple):
    """A depth label and what tells whether it is a sound one.

    Attributes:
        depth: (H, W) relative depth, [0, 1], 0 near and 1 far.
        saturated: Share of pixels at exactly 0 or 1, [0, 1]; normalising alone gives 0.04 by its percentiles.
        variance_outside: Mean squared difference to the background's own label on the shared pixels; about 0 when the
            network says the same of the same scene. None without a background.
        edge_step: Mean depth just inside the mask less that just outside; below 0 when the object is the nearer one.
            None without a mask, or with an empty one.
    """

    depth: Distance
    saturated: float
    variance_outside: float | None
    edge_step: float | None


def label_aligned(composite: Distance, background: Distance, mask: Marked) -> Label:
    """Make the label of a composite, aligned with its background.

    Args:
        composite: (H, W) distance seen in the composite.
        background: (H, W) distance seen in the background.
        mask: (H, W) where the object is.

    Raises:
        RefusedError: They differ in size, the maps do not show one scene, or one of these is flat or not finite.
    """
    if not composite.shape == background.shape == mask.shape:
        sizes = ", ".join(str(one.shape) for one in (composite, background, mask))
        raise RefusedError(f"composite, background and mask differ in height and width: {sizes}", "resize them alike")
    _check_finite(composite)
    _check_finite(background)
    shared = ~widen(mask)
    scale, shift = fit_scale_and_shift(composite, background, shared)
    if scale <= 0:
        raise RefusedError(
            f"outside the mask the network sees another scene than in the background (scale {scale:.3g})",
            "check that composite, background and mask belong together",
        )
    near, far = measure_range(background)
    depth = normalise(scale * composite + shift, near, far)
    difference = (depth - normalise(background, near, far))[shared]
    return Label(depth, _share_saturated(depth), float(np.mean(difference**2)), measure_edge_step(depth, mask))


def label_alone(picture: Distance) -> Label:
    """Make the label of a picture without a background: normalised by its own range.

    Raises:
        RefusedError: The map is flat or not finite.
    """
    _check_finite(picture)
    depth = normalise(picture, *measure_range(picture))
    return Label(depth, _share_saturated(depth), None, None)


def fit_scale_and_shift(values: Distance, target: Distance, valid: Marked) -> tuple[float, float]:
    """Find the scale and the shift that bring `values` closest to `target`, by least squares over the valid pixels.

    scale = cov(values, target) / var(values), shift = mean(target) - scale * mean(values)

    Args:
        values: (H, W)
        target: (H, W)
        valid: (H, W) the pixels that count.

    Raises:
        RefusedError: Too few pixels are valid, or `values` is flat over them.

    Reference:
        Ranftl et al. 2020, Towards Robust Monocular Depth Estimation, https://arxiv.org/abs/1907.01341, equation 4.

    >>> values, target = np.array([[1.0, 2.0, 9.0]]), np.array([[7.0, 9.0, 0.0]])
    >>> fit_scale_and_shift(values, target, np.array([[True, True, False]]))
    (2.0, 5.0)
    """
    if valid.sum() < max(2, _FEWEST_SHARED * valid.size):
        raise RefusedError("the mask and its border leave no background to align with", "check the mask")
    chosen, wanted = values[valid], target[valid]
    centred = chosen - chosen.mean()
    variance = float(np.mean(centred**2))
    if variance == 0:
        raise RefusedError("the network sees no depth in it: every pixel is equally far", "leave this picture out")
    scale = float(np.mean(centred * (wanted - wanted.mean()))) / variance
    return scale, float(wanted.mean() - scale * chosen.mean())


def measure_range(distance: Distance) -> tuple[float, float]:
    """Give the ends of a map's range, near then far, without its wildest pixels.

    Raises:
        RefusedError: Both ends are the same.
    """
    near, far = (float(end) for end in np.percentile(distance, PERCENTILES))
    if near == far:
        raise RefusedError("the network sees no depth in it: every pixel is equally far", "leave this picture out")
    return near, far


def normalise(distance: Distance, near: float, far: float) -> Distance:
    """Map near to 0 and far to 1; what lies beyond them is clipped.

    >>> normalise(np.array([0.0, 10.0, 15.0, 20.0, 99.0]), 10, 20).tolist()
    [0.0, 0.0, 0.5, 1.0, 1.0]
    """
    scaled: Distance = np.clip((distance - near) / (far - near), 0, 1)
    return scaled


def measure_edge_step(depth: Distance, mask: Marked) -> float | None:
    """Mean depth of the object's border less that of its surroundings; None where either has no pixel."""
    inside, outside = mask & widen(~mask), widen(mask) & ~mask
    if not inside.any() or not outside.any():
        return None
    return float(depth[inside].mean() - depth[outside].mean())


def widen(mask: Marked) -> Marked:
    """Add to (H, W) marked pixels all that lie within the border's width of them, in rows and columns."""
    width = max(1, round(mask.shape[0] * BORDER_SHARE))
    wider: Marked = maximum_filter(mask, size=2 * width + 1, mode="constant")
    return wider


def _check_finite(distance: Distance) -> None:
    if not np.isfinite(distance).all():
        raise RefusedError("what the network says of it is not finite", "leave this picture out")


def _share_saturated(depth: Distance) -> float:
    return float(np.mean((depth == 0) | (depth == 1)))
