"""Do mask and depth belong to their composite? What differs from the background is the object, in all three alike.

Names can pair all masks, or all depth maps, with the composite before their own. So each mask is compared with where
the composite differs from its background, and each depth map, less what the depth of its background usually is, with
the mask; both are held against the masks of other samples. Pictures are compared on a coarse grid.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from maskdepth.data.arrays.arrays import Arrays
from maskdepth.data.index.pairing import BELIEVED_SHARE, pick_points, read_reduced
from maskdepth.data.keys import choose_some
from maskdepth.data.tables import as_categories

Changes = npt.NDArray[np.float64]

# A mask fits when it explains at least this share of what the best of the masks does: on real photographs 0.98 in
# 99 of 100 samples, and below 0.5 in two of three where masks are those of the sample before.
_SHARE_OF_BEST = 0.7
# Larger differences say no more [levels]: an object is one whether it is a little or much brighter than the scene.
_MOST = 64
# What is looked at, at most: samples, masks that they are held against, samples of one background.
_SAMPLES = 1000
_OTHERS = 200
_OF_BACKGROUND = 20
# So many depth maps of a background tell what it is without an object; of fewer, half may show it at one point.
_FEWEST = 3


@dataclass(frozen=True)
class Agreement:
    """How many masks, or depth maps, show the object of their composite."""

    compared: int
    fitting: int

    @property
    def share(self) -> float:
        """Share of the compared that fits, [0, 1]; 0 when nothing could be compared."""
        return self.fitting / max(1, self.compared)


def check_targets(samples: pd.DataFrame, arrays: Arrays) -> dict[str, Agreement]:
    """Compare some masks and depth maps with their composites.

    Returns:
        How many fit, by kind.

    Raises:
        ValueError: The masks are not those of their composites.
    """
    masks = compare_masks(samples, arrays)
    if masks.compared and masks.share < BELIEVED_SHARE:
        raise ValueError(
            f"only {100 * masks.share:.1f} % of the masks show what differs between composite and background; at "
            "least 90 % must. Check that masks and composites are of one data set and numbered alike"
        )
    return {"mask": masks, "depth": compare_depths(samples, arrays)}


def compare_masks(samples: pd.DataFrame, arrays: Arrays) -> Agreement:
    """Compare some masks with where their composites differ from their backgrounds."""
    some = samples.iloc[choose_some(samples["sample_id"], _SAMPLES)]
    composites = read_reduced(arrays.composite, some["composite_row"].to_numpy(), pick_points)
    backgrounds = read_reduced(arrays.background, some["background_row"].to_numpy(), pick_points)
    masks = read_reduced(arrays.mask, some["mask_row"].to_numpy(), pick_points)
    return _compare(np.abs(composites.astype(np.int16) - backgrounds).mean(-1), masks)


def compare_depths(samples: pd.DataFrame, arrays: Arrays) -> Agreement:
    """Compare with their masks where some depth maps differ from the others of their backgrounds."""
    digest = as_categories(samples["background_digest"])
    is_frequent = digest.cat.codes.value_counts().ge(_FEWEST)
    is_first = samples.groupby(digest, observed=True).cumcount() < _OF_BACKGROUND
    first = samples[is_first & digest.cat.codes.map(is_frequent)].astype({"background_digest": str})
    some = first.sort_values("background_digest", kind="stable").head(_SAMPLES)
    depths = read_reduced(arrays.depth, some["depth_row"].to_numpy(), pick_points).astype(float)
    masks = read_reduced(arrays.mask, some["mask_row"].to_numpy(), pick_points)
    for positions in some.groupby("background_digest").indices.values():
        depths[positions] -= np.median(depths[positions], axis=0)
    return _compare(np.abs(depths), masks)


def _compare(differences: npt.NDArray[np.floating], masks: npt.NDArray[np.uint8]) -> Agreement:
    """Count the masks that explain the differences of their own sample as well as any mask does, or nearly.

    Args:
        differences: (B, h, w) levels, none negative.
        masks: (B, h, w) {0, 1}.
    """
    changes, objects = standardise(np.minimum(differences, _MOST)), standardise(masks)
    can_tell = changes.any(1) & objects.any(1)
    changes, objects = changes[can_tell], objects[can_tell]
    own = (changes * objects).sum(1)
    best = np.maximum(own, (changes @ objects[:_OTHERS].T).max(1, initial=0))
    return Agreement(len(own), int((own >= _SHARE_OF_BEST * best).sum()))


def standardise(pictures: npt.NDArray[np.generic]) -> Changes:
    """Flatten (B, h, w) to (B, h * w) of mean 0 and length 1, whose products are correlations; what is flat is 0."""
    flat = pictures.reshape(len(pictures), math.prod(pictures.shape[1:])).astype(float)
    flat -= flat.mean(1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    standardised: Changes = np.divide(flat, length, out=np.zeros_like(flat), where=length > 1e-6)
    return standardised
