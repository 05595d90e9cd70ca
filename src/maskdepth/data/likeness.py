"""Which backgrounds look like one place? A proposal for places.csv: a person decides.

Compared are a thumbnail, which finds one picture that was saved, shifted or lit differently, and the colours, which
find another view. On real photographs that is one view in five of a place, and next to nothing that is none.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

Pixels = npt.NDArray[np.uint8]

_THUMBNAIL = 8  # [px]
_SHADES = 6  # of each colour
# Two pictures are alike when they are so much more so than most pairs here, in robust standard deviations, and at least
# to the one degree, and at most to the other; drawn scenes are more alike than photographs are.
_DEVIATIONS = 3.5
_LEAST, _MOST = 0.6, 0.9
_TO_STANDARD_DEVIATION = 1.4826  # of the median absolute deviation
# Pictures that are compared at most, all with all: 10 million pairs take seconds.
_PICTURES = 4000


def propose_places(backgrounds: pd.DataFrame, pictures: Pixels) -> list[list[str]]:
    """List the backgrounds that look like one place, but are not yet called so.

    Args:
        backgrounds: One row per picture: `background`, and `place` as `name_places` gives it.
        pictures: (N, S, S, 3) RGB, in the same order.

    Returns:
        The ids of each group, in the order of the rows.
    """
    known = backgrounds.head(_PICTURES)
    groups = known.groupby(_group_alike(pictures[:_PICTURES]), sort=False)
    return [group["background"].astype(str).tolist() for _, group in groups if group["place"].nunique() > 1]


def describe_proposals(proposals: list[list[str]]) -> Iterator[str]:
    """Say what looks like one place, and what to write if it is one."""
    for ids in proposals:
        lines = " ".join(f"{background},{ids[0]}" for background in ids)
        yield f"the backgrounds {', '.join(ids)} look like one place: if they are, write into places.csv {lines}"


def _group_alike(pictures: Pixels) -> npt.NDArray[np.int32]:
    """Number the groups of pictures that are alike, each of them like another one of its group."""
    if len(pictures) < 2:
        return np.zeros(len(pictures), np.int32)
    alike = (_compare_thumbnails(pictures) + _compare_colours(pictures)) / 2
    pairs = alike[np.triu_indices(len(alike), 1)]
    spread = np.median(np.abs(pairs - np.median(pairs))) * _TO_STANDARD_DEVIATION
    least = np.clip(np.median(pairs) + _DEVIATIONS * spread, _LEAST, _MOST)
    groups: npt.NDArray[np.int32] = connected_components(csr_array(alike >= least), directed=False)[1]
    return groups


def _compare_thumbnails(pictures: Pixels) -> npt.NDArray[np.float32]:
    """Correlate tiny copies of all pictures: (N, N), at most 1."""
    size = (_THUMBNAIL, _THUMBNAIL)
    tiny = [np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BOX), np.float32).ravel() for one in pictures]
    flat = np.stack(tiny)
    flat -= flat.mean(1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    return np.asarray(flat @ flat.T)


def _compare_colours(pictures: Pixels) -> npt.NDArray[np.float32]:
    """Give the share of the colours that every two pictures have in common: (N, N), at most 1."""
    shades = pictures.astype(np.int32) * _SHADES // 256
    codes = (shades[..., 0] * _SHADES + shades[..., 1]) * _SHADES + shades[..., 2]
    counts = np.stack([np.bincount(code.ravel(), minlength=_SHADES**3) for code in codes])
    shares = (counts / counts[0].sum()).astype(np.float32)
    return np.stack([np.minimum(shares, one).sum(1) for one in shares])
