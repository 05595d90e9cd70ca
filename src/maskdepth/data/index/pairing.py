"""Does a composite belong to the background it is said to have? Outside the object the two pictures must look alike.

Names and label files can be wrong as a whole (one published label file names the right background for one composite
in a hundred); the pixels tell. They are compared on a coarse grid: a few hundred points tell scenes apart.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.ndimage import maximum_filter

from maskdepth.data.archives.members import Members
from maskdepth.data.arrays.arrays import Arrays, ShardedArray
from maskdepth.data.keys import blocks_of, choose_by_hash, choose_some, hash_texts
from maskdepth.data.layouts.layout import NAME_COLUMNS
from maskdepth.data.tables import spell_numbers

# A composite fits its background when the difference is at most this many times the one to the nearest background,
# and a few grey levels [0, 255] that compression and resizing cost: backgrounds that look alike all fit.
_NEAREST_FACTOR = 1.5
_NEAREST_MARGIN = 2.0
# A mapping from names to ids is believed when this share of the composites fits.
BELIEVED_SHARE = 0.9
# The object's border is left out this wide, as a share of the height: its soft edge is not in the mask.
_BORDER_SHARE = 0.05

# What is looked at, at most: composites, backgrounds, points of the grid per side, pictures in memory.
_COMPOSITES = 1000
_BACKGROUNDS = 200
_GRID_SIDE = 20
_BLOCK = 64


@dataclass(frozen=True)
class Pairing:
    """How many composites look like their background when names are read as `mapping` says."""

    mapping: str
    compared: int
    fitting: int

    @property
    def share(self) -> float:
        """Share of the compared that fits, [0, 1]; 0 when nothing could be compared."""
        return self.fitting / max(1, self.compared)


@dataclass(frozen=True)
class Probes:
    """Some composites, thinned to the grid, and how far each is from the background that is nearest to it.

    Attributes:
        names: Of the composites, as `read_names` gives them.
        composites: (B, h, w, 3) uint8.
        free: (B, h, w) bool, the points that belong neither to the object nor to its border.
        nearest: (B,) as `background_differences` gives.
    """

    names: pd.DataFrame
    composites: np.ndarray
    free: np.ndarray
    nearest: np.ndarray


def choose_mapping(samples: pd.DataFrame, backgrounds: pd.Series, members: Members, arrays: Arrays) -> list[Pairing]:
    """Find out which reading of the names gives the composites the backgrounds that they show.

    The layout's first mapping is kept unless the pixels contradict it. They cannot when there is only one background,
    or when no composite has a background that is there.

    Args:
        samples: Composites that have a mask.
        backgrounds: Rows of the background pictures, labelled by the background's id.
        members: The layout whose mappings are tried, and its labels.
        arrays: The pictures.

    Returns:
        The mappings tried; the last one is the one to use.

    Raises:
        ValueError: No mapping is right for nine composites out of ten; names the shares.
    """
    layout, rows = members.layout, backgrounds.drop_duplicates()
    if len(rows) < 2 or samples.empty:
        return [Pairing(layout.mappings[0], 0, 0)]
    probes = _read_probes(samples, rows, members, arrays)
    pairings: list[Pairing] = []
    for mapping in layout.mappings:
        ids = layout.resolve(mapping, probes.names, members.labels)
        pairings.append(_compare(probes, find_rows(ids["background"], backgrounds), arrays.background, mapping))
        if pairings[0].share >= BELIEVED_SHARE:
            return pairings
    if not any(pairing.compared for pairing in pairings):
        return pairings[:1]
    pairings.sort(key=lambda pairing: pairing.fitting)
    if pairings[-1].share < BELIEVED_SHARE:
        raise ValueError(
            f"{describe_pairings(pairings)}; at least 90 % must fit. Check that backgrounds and composites are of one "
            "data set, or name the ids by regular expressions in data.layout"
        )
    return pairings


def describe_pairings(pairings: list[Pairing]) -> str:
    """Say what share each mapping pairs, in order.

    >>> describe_pairings([Pairing("labels", 1000, 10), Pairing("generated", 1000, 998)])
    "composites paired with the background they show: by mapping 'labels' 1.0 %, by mapping 'generated' 99.8 %"
    """
    shares = [f"{100 * pairing.share:.1f} %" if pairing.compared else "none" for pairing in pairings]
    told = [f"by mapping {pairing.mapping!r} {share}" for pairing, share in zip(pairings, shares, strict=True)]
    return f"composites paired with the background they show: {', '.join(told)}"


def find_rows(ids: pd.Series, backgrounds: pd.Series) -> pd.Series:
    """Look up the rows of backgrounds by their ids, numbers spelled alike; NaN where there is no such background."""
    names = spell_numbers(pd.Series(backgrounds.index, dtype=str)).astype(str)
    known = pd.Series(backgrounds.to_numpy(float), index=names)
    return spell_numbers(ids).map(known).astype(float)


def read_names(pictures: pd.DataFrame, members: Members) -> pd.DataFrame:
    """Give the names of pictures as `Layout.resolve` takes them: texts, and the path `member` if it has labels."""
    names = pictures[list(NAME_COLUMNS)].astype(str)
    return names.assign(member=_paths_of(pictures, members).array) if members.layout.label_columns else names


def read_reduced(array: ShardedArray, rows: np.ndarray, reduce: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Read pictures a block at a time, and keep of each block what `reduce` makes of it."""
    blocks = [reduce(array.take(rows[start : start + _BLOCK])) for start in range(0, len(rows), _BLOCK)]
    return np.concatenate(blocks) if blocks else reduce(array.take(rows))


def background_differences(composites: np.ndarray, free: np.ndarray, backgrounds: np.ndarray) -> np.ndarray:
    """Mean absolute difference of each composite to a background over its free points.

    Args:
        composites: (B, h, w, 3) uint8.
        free: (B, h, w) bool.
        backgrounds: (B, h, w, 3) uint8, one for each composite, or (1, h, w, 3), one for all.

    Returns:
        (B,) float64 in grey levels [0, 255]; NaN where no point is free.
    """
    apart = np.abs(composites.astype(np.int16) - backgrounds) * free[..., None]  # (B, h, w, 3)
    total = apart.sum((1, 2, 3), dtype=np.int64)
    num_values = free.sum((1, 2)) * composites.shape[-1]
    differences = np.full(len(composites), np.nan)
    np.divide(total, num_values, out=differences, where=num_values > 0)
    return differences


def is_fitting(difference: np.ndarray, nearest: np.ndarray) -> np.ndarray:
    """Tell whether a background fits, given its difference to the composite and that of the nearest background.

    >>> is_fitting(np.array([5.0, 5.1, np.nan]), np.array([2.0, 2.0, np.nan])).tolist()
    [True, False, False]
    """
    fitting: np.ndarray = difference <= _NEAREST_FACTOR * nearest + _NEAREST_MARGIN
    return fitting


def pick_points(pictures: np.ndarray) -> np.ndarray:
    """Keep the points of a grid: (B, H, W, ...) becomes (B, h, w, ...) with h and w of at most 20."""
    rows, columns = (-(-side // _GRID_SIDE) for side in pictures.shape[1:3])
    return pictures[:, ::rows, ::columns]


def pick_free_points(masks: np.ndarray) -> np.ndarray:
    """Mark the points of the grid that are off the object: (B, H, W) uint8 {0, 1} becomes (B, h, w) bool."""
    width = 2 * max(1, round(masks.shape[1] * _BORDER_SHARE)) + 1
    is_free: np.ndarray = pick_points(maximum_filter(masks, size=(1, width, width))) == 0
    return is_free


def _paths_of(pictures: pd.DataFrame, members: Members) -> pd.Series:
    return members.look_up(pictures["place"].to_numpy(), "member")


def _read_probes(samples: pd.DataFrame, rows: pd.Series, members: Members, arrays: Arrays) -> Probes:
    hashes = [hash_texts(_paths_of(samples.iloc[block], members)) for block in blocks_of(len(samples))]
    chosen = samples.iloc[choose_by_hash(np.concatenate(hashes), _COMPOSITES)]
    composites = read_reduced(arrays.composite, chosen["composite_row"].to_numpy(), pick_points)
    free = read_reduced(arrays.mask, chosen["mask_row"].to_numpy(), pick_free_points)
    some = rows.iloc[choose_some(rows.index.to_series().astype(str), _BACKGROUNDS)]
    nearest = np.full(len(chosen), np.inf)
    for background in read_reduced(arrays.background, some.to_numpy(), pick_points):
        nearest = np.minimum(nearest, background_differences(composites, free, background[None]))
    return Probes(read_names(chosen, members), composites, free, nearest)


def _compare(probes: Probes, rows: pd.Series, array: ShardedArray, mapping: str) -> Pairing:
    """Compare the probes with the backgrounds that a mapping gives them, where there are such."""
    known = rows.notna().to_numpy()
    backgrounds = read_reduced(array, rows[known].to_numpy(np.int64), pick_points)
    difference = background_differences(probes.composites[known], probes.free[known], backgrounds)
    fitting = is_fitting(difference, np.minimum(probes.nearest[known], difference))
    return Pairing(mapping, int(np.isfinite(difference).sum()), int(fitting.sum()))
