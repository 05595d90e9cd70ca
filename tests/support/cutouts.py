"""A tiny world to compose from: cut-outs with soft alpha, backgrounds of many colours, exact depth."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from support.toy import TOY_SIZE, draw_background

from maskdepth.making.composing.composition import Composition

OBJECT_HEIGHT = 8  # [px]


def save_cutout(path: Path, height: int = OBJECT_HEIGHT, width: int = 6, border: int = 0) -> npt.NDArray[np.uint8]:
    """Save a cut-out whose colour and opacity differ from pixel to pixel; its first column is half transparent."""
    pixels = np.zeros((height + 2 * border, width + 2 * border, 4), np.uint8)
    inside = pixels[border : border + height, border : border + width]
    inside[...] = np.random.default_rng([height, width]).integers(128, 256, inside.shape)
    inside[:, 0, 3] = 100
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def composition_in(folder: Path, depths: bool = False) -> Composition:
    """Settings for pictures below a folder, all of them lossless."""
    return Composition(
        foregrounds=folder / "foregrounds",
        backgrounds=folder / "backgrounds",
        depths=folder / "depths" if depths else None,
        out=folder / "raw",
        layout="sudhakarmlal",
        size=TOY_SIZE,
        object_size=OBJECT_HEIGHT,
        placements=3,
        mirror="same",
        rule="uniform",
        quality=0,
        mask_quality=0,
        depth_quality=0,
        seed=0,
    )


def write_world(folder: Path, depths: bool = True) -> Composition:
    """Save two cut-outs (the second wider than tall), three backgrounds and their depth; nearer farther down."""
    composition = composition_in(folder, depths)
    save_cutout(composition.foregrounds / "fg1.png")
    save_cutout(composition.foregrounds / "fg2.png", width=14)
    for number in range(1, 4):
        for kind, pixels in (("backgrounds", draw_background(number)), ("depths", draw_depth(number))):
            path = folder / kind / f"bg{number}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(pixels).save(path)
    return composition


def draw_depth(number: int) -> npt.NDArray[np.uint8]:
    """A floor that comes nearer towards the lower edge, another one for every number; 0 is near."""
    column = np.linspace(250 - number, 60 + number, TOY_SIZE)
    return np.repeat(column[:, None], TOY_SIZE, axis=1).astype(np.uint8)
