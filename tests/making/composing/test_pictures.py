"""Proves that pictures are found in order and brought to size without distortion, and that unfit ones are named."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.cutouts import composition_in, save_cutout

from maskdepth.data.pictures.refusal import RefusedError
from maskdepth.making.composing.pictures import Inputs, find_inputs, load_prepared, preparations, prepare, read_cutout


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def prepare_background(tmp_path: Path, background: Path, depth: Path | None) -> str:
    composition = replace(composition_in(tmp_path), size=32)
    return prepare(preparations(composition, Inputs([], [background], [depth] if depth else []), tmp_path)[0])


def test_numbers_in_names_count_as_numbers_and_depth_follows_its_background(tmp_path: Path) -> None:
    composition = composition_in(tmp_path, depths=True)
    for name in ("b10.jpg", "sub/b1.png", "b2.jpg", ".hidden.png"):
        save(composition.backgrounds / name, np.zeros((4, 4, 3), np.uint8))
    for name in ("b10", "b2", "sub/b1", "more"):
        save(composition.depths / f"{name}.png", np.zeros((4, 4), np.uint8))
    save_cutout(composition.foregrounds / "a.png")
    inputs = find_inputs(composition)
    assert [path.name for path in inputs.backgrounds] == ["b2.jpg", "b10.jpg", "b1.png"]
    assert [path.name for path in inputs.depths] == ["b2.png", "b10.png", "b1.png"]


def test_a_cutout_of_the_right_height_keeps_every_pixel_but_its_empty_border(tmp_path: Path) -> None:
    pixels = save_cutout(tmp_path / "a.png", border=3)
    np.testing.assert_array_equal(read_cutout(tmp_path / "a.png", tall=8, size=32)[..., 3], pixels[3:-3, 3:-3, 3])
    assert read_cutout(tmp_path / "a.png", tall=4, size=32).shape == (4, 3, 4)


@pytest.mark.parametrize("mode", ["LA", "P"])
def test_alpha_is_found_in_every_mode_that_has_it(tmp_path: Path, mode: str) -> None:
    image = Image.new("LA", (6, 6))
    image.paste((200, 255), (1, 1, 5, 5))
    if mode == "P":
        palette = Image.new("P", (6, 6), 0)
        palette.putpalette([0, 0, 0, 200, 200, 200])
        palette.paste(1, (1, 1, 5, 5))
        palette.save(tmp_path / "a.png", transparency=0)
    else:
        image.save(tmp_path / "a.png")
    cutout = read_cutout(tmp_path / "a.png", tall=4, size=32)
    assert (cutout == [200, 200, 200, 255]).all() and cutout.shape == (4, 4, 4)


def opaque(alpha: int) -> np.ndarray:
    return np.full((8, 8, 4), alpha, np.uint8)


@pytest.mark.parametrize(
    ("name", "pixels", "message"),
    [
        ("a.jpg", opaque(255)[..., :3], r"a\.jpg: it has no alpha \(its colour mode is RGB\); cut the object out"),
        ("a.png", opaque(255), r"a\.png: its alpha shows all of the picture; cut the object out"),
        ("a.png", opaque(0), r"a\.png: its alpha shows nothing; cut the object out"),
    ],
)
def test_a_foreground_that_is_no_cutout_is_refused(tmp_path: Path, name: str, pixels: np.ndarray, message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        read_cutout(save(tmp_path / name, pixels), tall=8, size=32)


def test_an_object_wider_than_the_pictures_is_refused_with_the_height_that_fits(tmp_path: Path) -> None:
    save_cutout(tmp_path / "a.png", height=4, width=16)
    message = r"would be 64 x 16 px on pictures of 32 x 32 px; make objects at most 8 px tall"
    with pytest.raises(RefusedError, match=message):
        read_cutout(tmp_path / "a.png", tall=16, size=32)
    assert read_cutout(tmp_path / "a.png", tall=8, size=32).shape == (8, 32, 4)


@pytest.mark.parametrize(("dtype", "far"), [(np.uint8, 255), (np.uint16, 65535)])
def test_background_and_depth_of_8_or_16_bits_become_the_same_square(tmp_path: Path, dtype: type, far: int) -> None:
    left = np.arange(64) < 24  # of the 64 columns, the square in the middle shows 16 to 47
    picture = np.where(left[None, :, None], 0, 200).repeat(32, 0).repeat(3, 2).astype(np.uint8)
    depth = np.where(left[None, :], 0, far).repeat(32, 0).astype(dtype)
    assert not prepare_background(tmp_path, save(tmp_path / "b.png", picture), save(tmp_path / "d.png", depth))
    expected = np.where(np.arange(32) < 8, 0.0, 1.0)
    np.testing.assert_allclose(load_prepared(tmp_path, "depth", 1), np.tile(expected, (32, 1)))
    np.testing.assert_allclose(load_prepared(tmp_path, "background", 1)[..., 0], np.tile(200 * expected, (32, 1)))


def test_a_background_smaller_than_an_object_is_refused_and_a_larger_one_is_enlarged(tmp_path: Path) -> None:
    fitting, small = (save(tmp_path / f"{side}.png", np.zeros((side, 20, 3), np.uint8)) for side in (8, 7))
    assert not prepare_background(tmp_path, fitting, None)
    assert "7.png: it has 20 x 7 pixels, an object is 8 px tall; use a larger picture, or make" in prepare_background(
        tmp_path, small, None
    )


@pytest.mark.parametrize(
    ("depth", "message"),
    [
        (np.zeros((32, 32, 3), np.uint8), "d.png: its colour mode is RGB; save depth in grey of 8 or 16 bits"),
        (np.zeros((32, 24), np.uint8), "d.png: it has 24 x 32 pixels, but its background 32 x 32; give both the same"),
    ],
)
def test_a_depth_map_that_does_not_fit_is_refused(tmp_path: Path, depth: np.ndarray, message: str) -> None:
    background = save(tmp_path / "b.png", np.zeros((32, 32, 3), np.uint8))
    assert message in prepare_background(tmp_path, background, save(tmp_path / "d.png", depth))
