"""Pairs whose background was photographed a little differently: a known motion, other light, noise, and what is hard.

Backgrounds and composites have a margin that is cut away after the motion, so that what comes into view was really
photographed. Real pairs where MASKDEPTH_REAL_DATA names the photographs, else drawn ones.
"""

import csv
import io
import os
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from support.drawn import draw_scenes, scratch

from maskdepth.evaluation.disturbances import add_noise, blur, camera_motion, compress, light, move, to_picture

MARGIN = 8  # [px]
SIZE = 160  # [px] of the stored pictures, with their margins
# What is darkest when a shadow falls on a scene, and how soft its edge is [px].
_SHADE, _PENUMBRA = 0.7, 4.0
_PHOTOGRAPHS = "layout1_sudhakarmlal"
_COMPOSITE = re.compile(r"fg_bg_jpg/fg_bg_(\d+_(\d+)_\d_\d+\.jpg)")

Pixels = NDArray[np.uint8]
Matrix = NDArray[np.float64]


class Pair(NamedTuple):
    """One scene without and with an object.

    Attributes:
        place: Where it was photographed; pictures of one place are alike.
        background: (S, S, 3) uint8 RGB.
        composite: (S, S, 3) uint8 RGB.
        mask: (S, S) bool, the object.
        depth: (S, S) float32, [0, 1], 0 near, of the composite.
    """

    place: str
    background: Pixels
    composite: Pixels
    mask: NDArray[np.bool_]
    depth: NDArray[np.float32]


class Disturbed(NamedTuple):
    """What a registration is given, and what it should find; all without the margin.

    Attributes:
        background: (s, s, 3) uint8 RGB, disturbed.
        composite: (s, s, 3) uint8 RGB.
        matrix: (2, 3) from a pixel of the composite (x, y, 1) to that of the background [px].
        clean: (s, s, 3) uint8 RGB, the background as it lies under the composite.
        mask: (s, s) bool.
        depth: (s, s) float32.
    """

    background: Pixels
    composite: Pixels
    matrix: Matrix
    clean: Pixels
    mask: NDArray[np.bool_]
    depth: NDArray[np.float32]


@dataclass(frozen=True)
class Disturbance:
    """How the background differs.

    Attributes:
        shift: The camera moves so much to the right, and three quarters of it up [1, of the width].
        degrees: It turns.
        zoom: It is so many times as near.
        gain: R G B are multiplied by it.
        offset: Then added [grey levels].
        noise: Standard deviation [grey levels].
        blur: Standard deviation [px].
        quality: Of JPEG; 0 saves it once less.
        parallax: What is near moves so much more than what is far [px].
        has_shadow: A shadow falls on the left third.
    """

    shift: float = 0.0
    degrees: float = 0.0
    zoom: float = 1.0
    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    noise: float = 0.0
    blur: float = 0.0
    quality: int = 0
    parallax: float = 0.0
    has_shadow: bool = False

    def moves(self) -> bool:
        return (self.shift, self.degrees, self.zoom) != (0.0, 0.0, 1.0)


ALL_AT_ONCE = Disturbance(0.015, -1.0, 1 / 1.015, (1.0, 0.95, 0.9), noise=3.0, quality=85)
DISTURBANCES = {
    "as it is": Disturbance(),
    "shift 0.3 px": Disturbance(0.3 * 0.8 / (SIZE - 2 * MARGIN)),
    **{f"shift {percent} %": Disturbance(percent / 100 * 0.8) for percent in (1, 2, 4)},
    "turn 1 degree": Disturbance(degrees=-1.0),
    "turn 2 degrees": Disturbance(degrees=2.0),
    "zoom 2 %": Disturbance(zoom=1 / 1.02),
    **{f"light x{light}": Disturbance(gain=(light,) * 3) for light in (0.8, 0.9, 1.1, 1.2)},
    "colour cast": Disturbance(gain=(1.08, 1.0, 0.9), offset=(3.0, 0.0, -4.0)),
    **{f"JPEG {quality}": Disturbance(quality=quality) for quality in (95, 60, 30)},
    "noise 6": Disturbance(noise=6.0),
    "blur 1 px": Disturbance(blur=1.0),
    "all at once": ALL_AT_ONCE,
}
HARD = {
    "parallax 1 px": Disturbance(parallax=1.0),
    "parallax 2 px, shift 2 %": Disturbance(0.016, parallax=2.0),
    "a shadow": Disturbance(has_shadow=True),
    "a shadow, shift 2 %": Disturbance(0.016, has_shadow=True),
    "light x1.6, clipped": Disturbance(gain=(1.6,) * 3),
    "light x0.4, noise 3": Disturbance(gain=(0.4,) * 3, noise=3.0),
    "light x1.6, shift 2 %": Disturbance(0.016, gain=(1.6,) * 3),
    "shift 8 %": Disturbance(0.064 * 0.8),
    "turn 4 degrees": Disturbance(degrees=-4.0),
}


def read_pairs(per_background: int) -> list[Pair]:
    """Read some pairs of every background: photographs if there are any, else drawings."""
    folder = os.environ.get("MASKDEPTH_REAL_DATA")
    return list(_read_photographs(Path(folder), per_background) if folder else draw_pairs(per_background))


def disturb(pair: Pair, how: Disturbance, rng: np.random.Generator) -> Disturbed:
    """Make the background that another photograph would have shown, and say how it was made."""
    matrix = camera_motion(SIZE, SIZE, how.shift * (SIZE - 2 * MARGIN) / SIZE, how.degrees, how.zoom)
    pixels = pair.background.astype(float)
    if how.moves() or how.parallax:
        pixels = move(pixels, matrix, how.parallax * (1 - pair.depth))
    pixels = _cut(pixels)
    if how.has_shadow:
        edge = np.arange(len(pixels)) > len(pixels) / 3
        pixels = pixels * (_SHADE + (1 - _SHADE) * ndimage.gaussian_filter(edge.astype(float), _PENUMBRA))[:, None]
    if how.blur:
        pixels = blur(pixels, how.blur)
    background = to_picture(add_noise(light(pixels, how.gain, how.offset), rng, how.noise))
    if how.quality:
        background = compress(background, how.quality)
    inner = matrix.copy()
    inner[:, 2] += matrix[:, :2].sum(1) * MARGIN - MARGIN
    composite, clean, mask, depth = map(_cut, (pair.composite, pair.background, pair.mask, pair.depth))
    return Disturbed(background, composite, _invert(inner), clean, mask, depth)


def with_object(pair: Pair, share: float) -> Pair:
    """Enlarge the object of a pair until it hides so much of the picture [1], as far as its shape allows."""
    rows, columns = np.nonzero(pair.mask)
    box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    low, high = 1.0, 12.0
    for _ in range(12):  # the share grows with the size
        middle = (low + high) / 2
        pasted = _paste(pair, box, middle)
        low, high = (middle, high) if _cut(pasted.mask).mean() < share else (low, middle)
    return pasted


def on_a_wall(pair: Pair, rng: np.random.Generator) -> Pair:
    """Put the object before a wall of one colour that only the light makes a little uneven."""
    wall = np.linspace(150, 180, SIZE)[:, None, None] + np.linspace(-10, 10, SIZE)[None, :, None] + np.zeros(3)
    first, second = (np.clip(wall + 2 * rng.normal(size=wall.shape), 0, 255).astype(np.uint8) for _ in range(2))
    return pair._replace(background=first, composite=np.where(pair.mask[..., None], pair.composite, second))


def without_object(pair: Pair, rng: np.random.Generator) -> Pair:
    """Photograph the empty scene a second time."""
    second = compress(
        np.clip(pair.background + 2 * rng.normal(size=pair.background.shape), 0, 255).astype(np.uint8), 90
    )
    return pair._replace(composite=second, mask=np.zeros_like(pair.mask))


def corner_error(found: Matrix, true: Matrix, side: int) -> float:
    """Say how far off a motion is at the corner of a square picture where it is worst [px].

    Args:
        found: (2, 3) or (3, 3), from the composite to the background.
        true: (2, 3), the same.
        side: Of the picture [px].
    """
    last = side - 1
    corners = np.array([[0, 0, 1], [last, 0, 1], [0, last, 1], [last, last, 1]], float).T
    there = found @ corners
    if len(found) == 3:
        there = there[:2] / there[2]
    return float(np.linalg.norm(there - true @ corners, axis=0).max())


def _invert(matrix: Matrix) -> Matrix:
    return np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]


def _cut(pixels: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(pixels[MARGIN:-MARGIN, MARGIN:-MARGIN])


def _paste(pair: Pair, box: tuple[slice, slice], factor: float) -> Pair:
    """Paste what is in a box, so many times as large, in the middle of the background."""
    cut = [np.asarray(part[box]) for part in (pair.composite, pair.mask.astype(np.uint8) * 255, pair.depth)]
    size = [max(1, round(side * factor)) for side in cut[0].shape[1::-1]]
    large = [np.asarray(Image.fromarray(part).resize(size, Image.Resampling.BILINEAR)) for part in cut]
    top, left = ((side - SIZE) // 2 for side in size[::-1])
    rows, columns = np.mgrid[:SIZE, :SIZE] + np.array([top, left])[:, None, None]
    inside = (rows >= 0) & (rows < size[1]) & (columns >= 0) & (columns < size[0])
    picture, alpha, depth = (part[rows.clip(0, size[1] - 1), columns.clip(0, size[0] - 1)] for part in large)
    mask = inside & (alpha > 127)
    composite = np.where(mask[..., None], picture, pair.background)
    return pair._replace(composite=composite, mask=mask, depth=np.where(mask, depth, pair.depth))


def _read_photographs(folder: Path, per_background: int) -> Iterator[Pair]:
    with (folder / "provenance.csv").open() as file:
        places = {
            row["id"]: f"{row['repository']} {row['group']}" for row in csv.DictReader(file) if row["kind"] == "bg"
        }
    archives = [zipfile.ZipFile(path) for path in sorted((folder / _PHOTOGRAPHS).glob("*.zip"))]
    found: dict[str, list[tuple[zipfile.ZipFile, str]]] = {}
    for archive in archives:
        for match in filter(None, map(_COMPOSITE.fullmatch, archive.namelist())):
            found.setdefault(match[2], []).append((archive, match[1]))
    rng = np.random.default_rng(0)
    for number, composites in sorted(found.items()):
        for position in rng.choice(len(composites), per_background, replace=False):
            archive, key = composites[position]
            pictures = f"bg_jpg/bg_img_{number}.jpg", f"fg_bg_jpg/fg_bg_{key}"
            maps = f"mask_black_jpg/bg_mask_{key}", f"depth_fg_bg_jpg/depth_fg_bg_{key}"
            yield _decode(places[number], *map(archive.read, (*pictures, *maps)))


def draw_pairs(per_background: int, seed: int = 0, foregrounds: int = 2) -> Iterator[Pair]:
    """Draw some pairs on each of ten backgrounds; another seed draws other scenes and objects."""
    with scratch() as folder:
        for number, (background, samples) in enumerate(draw_scenes(folder, SIZE, seed, foregrounds)):
            for files in samples[:per_background]:
                yield _decode(str(number), background, *files)


def _decode(place: str, background: bytes, composite: bytes, mask: bytes, depth: bytes) -> Pair:
    first, second = (np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in (background, composite))
    maps = [np.asarray(Image.open(io.BytesIO(file)).convert("L")) for file in (mask, depth)]
    return Pair(place, first, second, maps[0] > 127, maps[1].astype(np.float32) / np.float32(255))
