"""Pasting cut-outs onto backgrounds: composite, mask and depth, exact outside the object."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from maskdepth.making.drawing.objects import Cutout
from maskdepth.making.drawing.raycast import Scene

_SMALLEST, _LARGEST = 0.33, 0.75  # of the picture's height: what an object may measure
_TRIES = 12  # places looked at before the best of them is taken
_BEHIND = 0.02  # relative depth by which something must be nearer to count as in front of the object


@dataclass(frozen=True)
class Composite:
    """A background with one object pasted on it.

    Attributes:
        picture: (H, W, 3) uint8 RGB.
        mask: (H, W) uint8, the object's opacity, 0 to 255.
        depth: (H, W) float32 relative depth, [0, 1], 0 near.
    """

    picture: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.uint8]
    depth: npt.NDArray[np.float32]


def place_object(
    background: npt.NDArray[np.uint8],
    depth: npt.NDArray[np.float32],
    cutout: npt.NDArray[np.uint8],
    cutout_depth: npt.NDArray[np.float32],
    left: int,
    top: int,
) -> Composite:
    """Paste a cut-out; what lies outside the background is cropped, what the cut-out does not cover stays as it was.

    Args:
        background: (H, W, 3) RGB.
        depth: (H, W) of the background, [0, 1], 0 near.
        cutout: (h, w, 4) RGBA, colours not multiplied by alpha.
        cutout_depth: (h, w) of the object, [0, 1], 0 near.
        left: Column of the background where the cut-out begins [px]; may be negative.
        top: Row likewise.

    Raises:
        ValueError: The shapes do not belong together, or nothing of the cut-out lies on the background.
    """
    _check_shapes(background, depth, cutout, cutout_depth)
    rows, cut_rows = _overlap(top, cutout.shape[0], background.shape[0])
    columns, cut_columns = _overlap(left, cutout.shape[1], background.shape[1])
    if rows.start >= rows.stop or columns.start >= columns.stop:
        raise ValueError(
            f"cut-out of {_size(cutout)} px at left {left}, top {top} lies outside the background of "
            f"{_size(background)} px; move it inside"
        )
    here, there = (rows, columns), (cut_rows, cut_columns)
    alpha = cutout[there][..., 3]
    share = alpha.astype(np.float32) / 255
    composite = Composite(background.copy(), np.zeros(depth.shape, np.uint8), depth.astype(np.float32))
    composite.picture[here] = np.round(_blend(background[here], cutout[there][..., :3], share[..., None]))
    composite.mask[here] = alpha
    composite.depth[here] = _blend(depth[here], cutout_depth[there], share)
    return composite


def _check_shapes(
    background: npt.NDArray[np.uint8],
    depth: npt.NDArray[np.float32],
    cutout: npt.NDArray[np.uint8],
    cutout_depth: npt.NDArray[np.float32],
) -> None:
    if background.shape != (*depth.shape, 3) or cutout.shape != (*cutout_depth.shape, 4):
        raise ValueError(
            f"background {background.shape} with depth {depth.shape} and cut-out {cutout.shape} with depth "
            f"{cutout_depth.shape}: expected (H, W, 3) with (H, W) and (h, w, 4) with (h, w)"
        )


def _size(picture: npt.NDArray[np.uint8]) -> str:
    return f"{picture.shape[1]} x {picture.shape[0]}"


def _overlap(start: int, length: int, limit: int) -> tuple[slice, slice]:
    """Where a piece that begins at `start` covers 0..limit: as a slice of the whole and as a slice of the piece."""
    first, last = max(start, 0), min(start + length, limit)
    return slice(first, last), slice(first - start, last - start)


def _blend(
    below: npt.NDArray[Any], above: npt.NDArray[Any], share: npt.NDArray[np.floating[Any]]
) -> npt.NDArray[np.floating[Any]]:
    """`below` where share is 0, `above` where it is 1."""
    return np.asarray(below * (1 - share) + above * share)


def stand_object(scene: Scene, cutout: Cutout, rng: np.random.Generator) -> Composite:
    """Stand an object on the free ground of a scene, as large and as far as perspective says.

    Several places are tried; the first where hardly anything nearer would be covered is taken, else the best. What is
    too tall for every place is drawn as a smaller one of its kind.

    Raises:
        ValueError: The scene shows no ground.
    """
    if not scene.standing.any():
        raise ValueError("the scene shows no ground to stand on; draw another one")
    tall = scene.figure_height * cutout.share
    while not len(feet := _possible_feet(scene, cutout, tall)):
        tall *= 0.8
    best, least_hidden = None, np.inf
    for row, column in feet[rng.integers(len(feet), size=_TRIES)]:
        composite, hidden = _stand_at(scene, cutout, tall, int(row), int(column))
        if hidden < least_hidden:
            best, least_hidden = composite, hidden
        if hidden < 0.02:
            break
    assert best is not None  # the first try is always better than none
    return best


def _possible_feet(scene: Scene, cutout: Cutout, tall: float) -> npt.NDArray[np.int64]:
    """(N, 2) row and column of ground where the object is neither too small nor too large and lies inside."""
    size = len(scene.standing)
    rows = np.flatnonzero(scene.standing.any(axis=1))
    foot, middle = (rows + 1.0) / size, (np.arange(size) + 0.5) / size
    top = scene.camera.top_row(foot, tall)
    wide = (foot - top)[:, None] * cutout.picture.shape[1] / cutout.picture.shape[0]
    is_inside = scene.standing[rows] & (wide / 2 <= middle) & (middle <= 1 - wide / 2) & (top >= 0)[:, None]
    height = np.where(is_inside, (foot - top)[:, None], 0)
    # What is small even in front may stand in front alone.
    feet = np.argwhere((height < _LARGEST) & (height > min(_SMALLEST, 0.8 * height.max())))
    return np.stack([rows[feet[:, 0]], feet[:, 1]], axis=1)


def _stand_at(scene: Scene, cutout: Cutout, tall: float, row: int, column: int) -> tuple[Composite, float]:
    """The object with its foot at a pixel, and the share of it that should have been hidden by something nearer."""
    size = len(scene.standing)
    foot = (row + 1) / size
    top = float(scene.camera.top_row(np.asarray(foot), tall))
    height = max(round((foot - top) * size), 2)
    picture = resize_cutout(cutout.picture, height)
    width = picture.shape[1]
    relief = np.asarray(Image.fromarray(cutout.relief).resize((width, height), Image.Resampling.BOX))
    rows = (row + 1 - height + np.arange(height) + 0.5) / size
    metres = scene.camera.upright_depth(foot, rows)[:, None] - relief * tall
    depth = scene.camera.relative_depth(metres).astype(np.float32)
    composite = place_object(scene.picture, scene.depth, picture, depth, column - width // 2, row + 1 - height)
    inside = composite.mask > 127
    hidden = float(np.mean(scene.depth[inside] < composite.depth[inside] - _BEHIND)) if inside.any() else 1.0
    return composite, hidden


def resize_cutout(cutout: npt.NDArray[np.uint8], height: int) -> npt.NDArray[np.uint8]:
    """Resize an (h, w, 4) cut-out to `height` [px], keeping its proportions; soft edges take no colour from outside."""
    width = max(round(cutout.shape[1] / cutout.shape[0] * height), 1)
    return np.asarray(Image.fromarray(cutout).resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0))


def mirror_cutout(cutout: Cutout) -> Cutout:
    """The object as a mirror shows it."""
    return Cutout(cutout.picture[:, ::-1], cutout.relief[:, ::-1], cutout.share)
