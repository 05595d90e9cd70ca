"""A picture of a data set: some samples side by side, as the network will see them."""

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image, ImageDraw

from maskdepth.data.arrays.arrays import Arrays
from maskdepth.data.pictures.decoding import BACKGROUND_DEPTH, PICTURE_KINDS
from maskdepth.process.files import replacing

# Small pictures are enlarged to at least this [px], pixel by pixel.
_CELL = 96
_GAP = 4  # [px]
_TITLE = 14  # [px] height of a line of the font that comes with Pillow
_LABEL, _LONG_LABEL = 72, 108  # [px] width of the longest kind in it, without and with the depth of the background
_PAPER, _INK = (255, 255, 255), (0, 0, 0)


def draw_gallery(arrays: Arrays, samples: pd.DataFrame, path: Path, count: int) -> None:
    """Draw a column per sample: background, composite, mask (white is object) and depth (dark is near).

    Where samples have it, the depth of the background is a last row; its cell is empty where it is not known.

    Args:
        arrays: The pictures.
        samples: One row per sample, the columns of index.csv; at least one.
        path: PNG to write; its folder is made.
        count: Samples to draw, spread evenly over the table; all if there are fewer.
    """
    chosen = samples.iloc[np.unique(np.linspace(0, len(samples) - 1, count).round().astype(int))]
    enlargement = math.ceil(_CELL / arrays.image_size)
    cell = arrays.image_size * enlargement + _GAP
    has_depth = chosen["background_depth_row"].ge(0).any()
    kinds, label = ((*PICTURE_KINDS, BACKGROUND_DEPTH), _LONG_LABEL) if has_depth else (PICTURE_KINDS, _LABEL)
    page = Image.new("RGB", (label + len(chosen) * cell, _TITLE + len(kinds) * cell), _PAPER)
    pen = ImageDraw.Draw(page)
    for column, sample_id in enumerate(chosen["sample_id"]):
        pen.text((label + column * cell, 0), str(sample_id), _INK)
    for row, kind in enumerate(kinds):
        pen.text((0, _TITLE + row * cell), kind.replace("_", " "), _INK)
        rows = chosen[f"{kind}_row"].to_numpy()
        columns = np.flatnonzero(rows >= 0).tolist()
        for column, picture in zip(columns, getattr(arrays, kind).take(rows[columns]), strict=True):
            image = Image.fromarray(_show(picture, kind))
            image = image.resize((cell - _GAP, cell - _GAP), Image.Resampling.NEAREST)
            page.paste(image, (label + column * cell, _TITLE + row * cell))
    with replacing(path) as partial:
        page.save(partial, "PNG")


def _show(picture: npt.NDArray[np.uint8], kind: str) -> npt.NDArray[np.uint8]:
    """Make a mask {0, 1} black and white; the rest can be seen as it is."""
    return picture * np.uint8(255) if kind == "mask" else picture
