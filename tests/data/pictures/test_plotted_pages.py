"""Proves that drawings on white pages are told from depth maps, found to the pixel, and turned back into levels."""

import io

import matplotlib
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from support.plotted import draw_levels, plot_small_page, plot_wide_page
from support.toy import OBJECT_DEPTH, draw_sample

from maskdepth.data.pictures.plotted_pages import Box, find_frame, identify_colour_map, invert_colour_map

Pixels = npt.NDArray[np.uint8]

SMALL_BOX, WIDE_BOX = Box(29, 27, 201, 199), Box(111, 35, 332, 256)
RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def read(data: bytes, mode: str = "RGB") -> Pixels:
    return np.asarray(Image.open(io.BytesIO(data)).convert(mode))


def cut(pixels: Pixels, box: Box) -> Pixels:
    return pixels[box.top : box.bottom, box.left : box.right]


def colour(levels: Pixels, name: str) -> Pixels:
    return np.asarray(matplotlib.colormaps[name](levels, bytes=True)[..., :3])


def white_page(height: int, width: int, box: Box, level: int = 90) -> Pixels:
    page = np.full((height, width), 255, np.uint8)
    page[box.top : box.bottom, box.left : box.right] = level
    return page


@pytest.mark.parametrize("form", ["png", "jpg"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_published_pages_are_found_to_the_pixel(form: str, mode: str) -> None:
    assert find_frame(read(plot_small_page(draw_levels(112), form), mode)) == SMALL_BOX
    assert find_frame(read(plot_wide_page(draw_levels(80), form), mode)) == WIDE_BOX


def test_a_page_with_axes_is_a_page() -> None:
    box = find_frame(read(plot_wide_page(draw_levels(80), axes_are_shown=True)))
    assert box is not None
    assert np.abs(np.subtract(box, WIDE_BOX)).max() <= 1


def test_a_bad_jpeg_of_a_page_is_a_page() -> None:
    data = io.BytesIO()
    Image.fromarray(read(plot_small_page(draw_levels(112), "png"))).save(data, "JPEG", quality=30)
    assert find_frame(read(data.getvalue())) == SMALL_BOX


def test_a_hand_drawn_rectangle_is_found() -> None:
    assert find_frame(white_page(10, 20, Box(3, 2, 15, 7))) == Box(3, 2, 15, 7)


@pytest.mark.parametrize(
    "box", [Box(0, 2, 15, 7), Box(3, 0, 15, 7), Box(3, 2, 20, 7), Box(3, 2, 15, 10), Box(9, 4, 12, 6), Box(5, 5, 5, 5)]
)
def test_without_white_all_around_or_with_a_small_object_it_is_no_page(box: Box) -> None:
    assert find_frame(white_page(10, 20, box)) is None


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
@pytest.mark.parametrize("share", [0.0, 0.12, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_grey_drawing_of_which_one_side_is_white_is_a_page(share: float, turns: int, form: str) -> None:
    """White is far, and so is a sky."""
    levels = np.linspace(200, 20, 100)[:, None].repeat(120, 1)
    levels[:12, : int(share * 120)] = 255
    page = np.pad(np.rot90(levels, turns).astype(np.uint8), 20, constant_values=255)
    assert find_frame(save_as(page, form)) is not None


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_a_grey_drawing_of_which_one_corner_is_white_is_a_page(form: str) -> None:
    levels = np.linspace(200, 20, 100)[:, None].repeat(120, 1)
    levels[:18, :22] = 255
    assert find_frame(save_as(np.pad(levels.astype(np.uint8), 20, constant_values=255), form)) == (20, 20, 140, 120)


@pytest.mark.parametrize("stretch", [1.0, 0.6, 1.6])
@pytest.mark.parametrize("power", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("side", [32, 64, 224])
def test_no_rounded_object_before_a_white_background_is_a_page(side: int, power: float, stretch: float) -> None:
    """From a diamond to a disc, wide and high."""
    row, column = (np.mgrid[:side, :side] + 0.5) / side * 2 - 1
    inside = np.abs(row / 0.8) ** power + np.abs(column * max(stretch, 1.25) / 0.8) ** power < min(1, stretch)
    assert find_frame(np.where(inside, np.uint8(40), np.uint8(255))) is None


def save_as(pixels: Pixels, form: str) -> Pixels:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, form)
    return read(data.getvalue(), "L")


def test_an_ordinary_depth_map_is_no_page() -> None:
    levels = draw_levels(64)
    assert find_frame(levels) is None
    assert find_frame(colour(levels, "viridis")) is None
    assert find_frame(np.full((64, 64), 255, np.uint8)) is None


def test_a_round_object_before_a_white_background_is_no_page() -> None:
    depth = draw_sample(1, 1, 0, 1).depth
    alone = np.where(depth == OBJECT_DEPTH, depth, np.uint8(255))
    assert find_frame(np.kron(alone[4:28, 4:28], np.ones((4, 4), np.uint8))) is None
    row, column = np.mgrid[:64, :64]
    assert find_frame(np.where((row - 32) ** 2 + (column - 32) ** 2 < 28**2, np.uint8(40), np.uint8(255))) is None


@pytest.mark.parametrize("name", ["viridis", "plasma"])
def test_the_colours_are_those_of_matplotlib(name: str) -> None:
    """Every level goes to its colour and back, but for neighbours of one colour; the two outermost are repeated."""
    picture = np.pad(colour(RAMP, name), ((2, 2), (2, 2), (0, 0)))
    levels = invert_colour_map(picture, name)
    assert identify_colour_map(colour(RAMP, name)) == name
    assert np.array_equal(colour(levels, name), colour(np.pad(RAMP, 2, mode="edge"), name))
    assert np.abs(levels.astype(int) - np.pad(RAMP, 2, mode="edge")).max() <= 1


@pytest.mark.parametrize("name", ["gray", "inferno", "magma", "cividis", "jet", "turbo", "hot", "Spectral"])
def test_other_colours_are_of_no_known_map(name: str) -> None:
    assert identify_colour_map(colour(RAMP, name)) is None


def test_the_nearest_colour_wins_whatever_noise_there_is() -> None:
    """The fast search over all colours gives what comparing them one by one gives."""
    noisy = np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8)
    colours = colour(np.arange(256, dtype=np.uint8), "plasma").astype(int)
    levels = invert_colour_map(noisy, "plasma")[2:-2, 2:-2]
    for level, pixel in zip(levels.ravel(), noisy[2:-2, 2:-2].reshape(-1, 3), strict=True):
        squares = ((colours - pixel) ** 2).sum(1)
        assert squares[level] == squares.min()


@pytest.mark.parametrize(("form", "tolerance"), [("png", 1.5), ("jpg", 4.0)])
def test_a_page_gives_the_drawn_levels_back(form: str, tolerance: float) -> None:
    """Tolerances [levels]: matplotlib blends neighbouring colours, and JPEG adds its own noise, also at the rim."""
    for page, box, side in ((plot_small_page, SMALL_BOX, 112), (plot_wide_page, WIDE_BOX, 80)):
        levels = draw_levels(side)
        drawing = cut(read(page(levels, form)), box)
        name = identify_colour_map(drawing)
        assert name == ("plasma" if side == 112 else "viridis")
        shown = np.asarray(Image.fromarray(levels).resize(drawing.shape[1::-1], Image.Resampling.NEAREST), int)
        found = invert_colour_map(drawing, name).astype(int)
        assert np.abs(found - shown).mean() < tolerance
        assert np.abs(found - shown)[[0, -1]].mean() < 4 * tolerance


def test_a_large_page_is_found_as_a_small_one_is_and_its_levels_are_too() -> None:
    """What is looked at in parts gives the same wherever the parts end."""
    page = read(plot_small_page(draw_levels(112), "png"))
    large = np.kron(page, np.ones((5, 5, 1), np.uint8))
    assert find_frame(large) == tuple(5 * side for side in SMALL_BOX)
    drawing = cut(page, SMALL_BOX)
    name = identify_colour_map(drawing)
    assert name
    colours = matplotlib.colormaps[name](np.arange(256), bytes=True)[:, :3].astype(int)
    nearest = ((drawing[..., None, :].astype(int) - colours) ** 2).sum(-1).argmin(-1)
    assert np.array_equal(invert_colour_map(drawing, name)[2:-2, 2:-2], nearest[2:-2, 2:-2])
