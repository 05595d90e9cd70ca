"""Proves that the gallery shows the very pixels of samples from all over the table, each in its place."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from PIL import Image
from support.toy import TOY_SIZE

from maskdepth.data.archives.members import Members
from maskdepth.data.arrays.arrays import Arrays
from maskdepth.data.gallery import draw_gallery
from maskdepth.data.index.joining import build_index
from maskdepth.data.pictures.decoding import PICTURE_KINDS

SIDE = 3 * TOY_SIZE  # 96 px


@pytest.fixture(scope="module")
def samples(toy: tuple[Members, Arrays]) -> pd.DataFrame:
    return build_index(*toy).samples


def draw(arrays: Arrays, samples: pd.DataFrame, path: Path, count: int) -> npt.NDArray[np.uint8]:
    draw_gallery(arrays, samples, path, count)
    return np.asarray(Image.open(path))


def cell(page: npt.NDArray[np.uint8], row: int, column: int) -> npt.NDArray[np.uint8]:
    """One picture of the page at its own size."""
    top, left = 14 + row * (SIDE + 4), 72 + column * (SIDE + 4)
    return page[top : top + SIDE : 3, left : left + SIDE : 3]


def test_every_picture_is_in_its_place(arrays: Arrays, samples: pd.DataFrame, tmp_path: Path) -> None:
    page = draw(arrays, samples, tmp_path / "new" / "gallery.png", 3)
    assert page.shape == (14 + 4 * (SIDE + 4), 72 + 3 * (SIDE + 4), 3)
    for column, sample in enumerate(samples.iloc[[0, 12, 23]].to_dict("records")):
        for row, kind in enumerate(PICTURE_KINDS):
            (picture,) = getattr(arrays, kind).take(np.array([sample[f"{kind}_row"]]))
            shown = picture * 255 if kind == "mask" else picture
            expected = shown if shown.ndim == 3 else np.repeat(shown[..., None], 3, -1)
            assert np.array_equal(cell(page, row, column), expected)


def test_fewer_samples_make_a_narrower_page(arrays: Arrays, samples: pd.DataFrame, tmp_path: Path) -> None:
    assert draw(arrays, samples.head(2), tmp_path / "two.png", 9).shape[1] == 72 + 2 * (SIDE + 4)
    assert draw(arrays, samples.head(1), tmp_path / "one.png", 9).shape[1] == 72 + SIDE + 4


def test_the_same_samples_are_the_same_file(arrays: Arrays, samples: pd.DataFrame, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        draw_gallery(arrays, samples, tmp_path / name, 4)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2
