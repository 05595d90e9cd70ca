"""Proves that what people are shown is what was predicted, in its place and under its title."""

import numpy as np
import pytest
from PIL import Image

from maskdepth.serving.drawing import colour_depth, cut_out, draw_panel, fit_scene, paste_onto

GAP, TITLE = 8, 34


def plain(colour, height=60, width=80):
    return np.full((height, width, 3), colour, np.uint8)


def draw(height=60, width=80):
    mask = np.zeros((height, width), bool)
    mask[: height // 2] = True
    depth = np.linspace(0, 1, 16, dtype=np.float32)[:, None].repeat(16, 1)
    return draw_panel(plain((200, 0, 0), height, width), plain((0, 0, 200), height, width), mask, depth)


def test_four_pictures_stand_under_their_titles():
    panel = draw()
    top, left, below, right = TITLE, GAP, TITLE + 480 + TITLE, GAP + 640 + GAP
    assert panel.shape == (2 * (480 + TITLE) + GAP, 2 * (640 + GAP) + GAP, 3)
    assert tuple(panel[top, left]) == (200, 0, 0) and tuple(panel[top + 479, right + 639]) == (0, 0, 200)
    assert tuple(panel[below, left]) == (0, 0, 200)  # object, as it is
    assert tuple(panel[below + 479, left]) == (0, 0, 50)  # not object, dimmed
    near, far = panel[below + 5, right + 5].astype(int), panel[below + 474, right + 5].astype(int)
    assert near.sum() > 500 and far.sum() < 100
    for row in (0, 480 + TITLE):
        for column in (left, right):
            assert panel[row : row + TITLE, column : column + 300].min() < 50  # ink


@pytest.mark.parametrize(("height", "width"), [(400, 20), (20, 300), (1, 1)])
def test_any_shape_has_its_four_pictures_and_room_for_titles(height, width):
    panel = draw(height, width)
    assert panel.shape[0] > 2 * 480 and panel.shape[1] >= 2 * 300


def test_depth_runs_from_bright_to_dark():
    colours = colour_depth(np.linspace(0, 1, 64, dtype=np.float32)[None])[0].astype(int)
    assert tuple(colours[0]) == (252, 253, 191) and tuple(colours[-1]) == (0, 0, 4)
    assert (np.diff(colours.sum(1)) < 0).all()


def test_a_cutout_is_solid_where_it_is_likely_and_black_where_there_is_none():
    likely = np.array([[0.0, 0.3, 0.5, 0.7, 1.0]], np.float32)
    cut = cut_out(plain(90, 1, 5), likely)
    assert cut[0, :, 3].tolist() == [0, 0, 128, 255, 255]
    assert cut[0, :, 0].tolist() == [0, 0, 90, 90, 90]


def test_an_object_stands_before_another_scene_of_any_size():
    scene = fit_scene(Image.new("RGB", (300, 40), (10, 200, 90)), 80, 60)
    mask_prob = np.zeros((60, 80), np.float32)
    mask_prob[20:40, 30:50] = 1
    pasted = paste_onto(scene, plain((200, 0, 0)), mask_prob)
    assert pasted.shape == (60, 80, 3)
    assert (pasted[20:40, 30:50] == (200, 0, 0)).all() and (pasted[:20] == (10, 200, 90)).all()


def test_a_scene_of_another_shape_is_cropped_and_not_squeezed():
    wide = np.zeros((50, 150, 3), np.uint8)
    wide[:, 50:100] = 255
    assert np.asarray(fit_scene(Image.fromarray(wide), 50, 50))[:, 5:45].min() == 255
