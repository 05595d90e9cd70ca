"""Does a depth map belong to its background? Off the objects it must go with the depth of that background's composites.

A map may come from a sensor, or from a network that sees depth in a way of its own, so that nothing is asked of its
levels but that they rise where those of the composites rise, and that they are not those of another background. What
fails is turned down by itself: its samples are used, and have no such map. Pictures are compared on a coarse grid.
"""

import math
import warnings
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from maskdepth.data.arrays.arrays import Arrays
from maskdepth.data.index.agreement import Agreement, standardise
from maskdepth.data.index.pairing import pick_free_points, pick_points, read_reduced

# What is looked at, at most: composites of one background, backgrounds that a map is held against.
_OF_BACKGROUND = 5
_OTHERS = 200
# It is the map of another background when it is so near to that one [levels], and farther from its own: this many times
# as far, and this far at least. JPEG and resizing cost a level or two; two sensors, or two networks, some twenty.
_NEAR, _TIMES_FARTHER, _FAR = 6.0, 3.0, 12.0
# Where levels differ by less [levels], nothing says which end is near.
_FLAT = 2.0
# As far turned round, and not merely unlike.
_TURNED = -0.5

Levels = npt.NDArray[np.float64]
Contradiction = Literal["", "turned round", "another scene"]


class Judged(NamedTuple):
    """What the pixels say about the depth maps of backgrounds.

    Attributes:
        faults: `reason` and `cure` of each, labelled by the id of its background; "" where nothing is wrong, or nothing
            can be said.
        agreement: How many go better with the depth of their own composites than with that of most others.
    """

    faults: pd.DataFrame
    agreement: Agreement


def judge_background_depths(maps: pd.Series, samples: pd.DataFrame, arrays: Arrays) -> Judged:
    """Compare each depth map of a background with the depth of its composites, off their objects.

    Args:
        maps: Row of each map, labelled by the id of its background.
        samples: `sample_id`, `background`, `depth_row` and `mask_row` of the samples.
        arrays: The pictures; they have such maps.
    """
    faults = pd.DataFrame({"reason": "", "cure": ""}, index=maps.index)
    chosen = _choose_samples(samples[samples["background"].isin(maps.index)])
    if chosen.empty:
        return Judged(faults, Agreement(0, 0))
    names = list(chosen["background"].unique())
    assert arrays.background_depth is not None
    found = read_reduced(arrays.background_depth, maps[names].to_numpy(), pick_points).astype(float)
    known = _usual_depths(chosen, names, arrays)
    found = found.reshape(known.shape)
    for position, name in enumerate(names):
        faults.loc[name] = _find_fault(found[position], known, position, names)
    return Judged(faults, _count_fitting(found, known))


def _choose_samples(samples: pd.DataFrame) -> pd.DataFrame:
    """Choose the first composites of each background."""
    return samples[samples.groupby("background", observed=True).cumcount() < _OF_BACKGROUND]


def _usual_depths(samples: pd.DataFrame, names: list[str], arrays: Arrays) -> Levels:
    """Give the median depth off the objects of the composites of each background, (B, h * w); NaN where all cover."""
    levels = read_reduced(arrays.depth, samples["depth_row"].to_numpy(), pick_points).astype(float)
    levels[~read_reduced(arrays.mask, samples["mask_row"].to_numpy(), pick_free_points)] = np.nan
    positions = samples.groupby("background", sort=False).indices
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # about points that an object covers in all of them
        return np.stack([np.nanmedian(levels[positions[name]], axis=0).ravel() for name in names])


def find_contradiction(found: Levels, known: Levels) -> tuple[Contradiction, float]:
    """Say how depth goes against depth of the same points that is known: nearer where that is farther.

    Args:
        found: (N) levels [0, 255] that are judged.
        known: (N) levels that are right.

    Returns:
        What is wrong, "" if nothing is, or nothing can be said; and the correlation, 0 where there is none.
    """
    if not len(found) or found.std() < _FLAT or known.std() < _FLAT:
        return "", 0
    correlation = float(np.corrcoef(found, known)[0, 1])
    if correlation > 0:
        return "", correlation
    return ("turned round" if correlation < _TURNED else "another scene"), correlation


def _find_fault(found: Levels, known: Levels, position: int, names: list[str]) -> tuple[str, str]:
    """Judge one map, (h * w), beside the usual depths of all backgrounds, (B, h * w); its own has a position there."""
    points = np.isfinite(known[position])
    mine, true = found[points], known[position][points]
    contradiction, correlation = find_contradiction(mine, true)
    if contradiction:
        problem = "has near and far the other way round" if contradiction == "turned round" else "is of another scene"
        reason = f"it {problem}: correlation {correlation:.2f} with the depth of its composites off their objects"
        return reason, "give each background its own map, and let near be the same end of all grey scales"
    if not correlation:
        return "", ""
    apart = float(np.abs(mine - true).mean())
    distances = _distances(found, known[:_OTHERS])
    nearest = int(distances.argmin())
    if distances[nearest] <= _NEAR and apart >= max(_FAR, _TIMES_FARTHER * distances[nearest]):
        return f"it is that of background {names[nearest]}, as the depth of its composites says", "give each its own"
    return "", ""


def _distances(found: Levels, known: Levels) -> Levels:
    """Give (B,) mean absolute differences [levels] of a map, (h * w), to (B, h * w) others, where these are known."""
    apart = np.abs(known - found)
    points = np.isfinite(apart)
    total = np.where(points, apart, 0).sum(1)
    distances: Levels = np.divide(total, points.sum(1), out=np.full(len(known), math.inf), where=points.any(1))
    return distances


def _count_fitting(found: Levels, known: Levels) -> Agreement:
    """Count the maps that correlate more with their own usual depth than with the median of the others, all less
    what all scenes share: floors come nearer downwards wherever they are.

    Args:
        found: (B, h * w) maps.
        known: (B, h * w) usual depths, NaN where unknown.
    """
    if len(found) < 2:
        return Agreement(0, 0)
    filled = np.where(np.isfinite(known), known, 0)
    shared = filled.sum(0) / np.isfinite(known).sum(0).clip(1)
    true = standardise(np.where(np.isfinite(known), known - shared, 0))
    mine = standardise(found - found.mean(0))
    correlations = mine @ true.T  # (B, B)
    own = correlations.diagonal().copy()
    np.fill_diagonal(correlations, np.nan)
    can_tell = mine.any(1) & true.any(1)
    fits = own >= np.nanmedian(correlations, axis=1)
    return Agreement(int(can_tell.sum()), int((fits & can_tell).sum()))
