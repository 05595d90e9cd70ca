"""Proves that pasting is exact: nothing changes outside the object, and inside it is the object, in its place."""

import numpy as np
import pytest

from maskdepth.making.drawing.objects import OBJECT_KINDS, draw_object
from maskdepth.making.drawing.placing import mirror_cutout, place_object, resize_cutout, stand_object
from maskdepth.making.drawing.scenes import SCENE_KINDS, draw_scene

BACKGROUND = np.full((4, 5, 3), 100, dtype=np.uint8)
DEPTH = np.full((4, 5), 0.8, dtype=np.float32)


def cutout_of(alpha: list[list[int]]) -> np.ndarray:
    """A cut-out of one colour, 200, with this opacity."""
    opacity = np.array(alpha, dtype=np.uint8)
    return np.dstack([np.full((*opacity.shape, 3), 200, dtype=np.uint8), opacity])


def test_half_opaque_pixel_is_half_object_in_picture_and_depth() -> None:
    placed = place_object(BACKGROUND, DEPTH, cutout_of([[255, 51]]), np.full((1, 2), 0.3, np.float32), left=1, top=2)
    np.testing.assert_array_equal(placed.picture[2, :, 0], [100, 200, 120, 100, 100])
    np.testing.assert_array_equal(placed.mask[2], [0, 255, 51, 0, 0])
    np.testing.assert_allclose(placed.depth[2], [0.8, 0.3, 0.7, 0.8, 0.8], rtol=1e-6)
    assert (placed.picture[[0, 1, 3]] == 100).all() and not placed.mask[[0, 1, 3]].any()


@pytest.mark.parametrize(("left", "top", "seen"), [(-1, 0, 4), (4, 3, 1), (0, -2, 2), (1, 1, 6)])
def test_what_lies_outside_is_cropped(left: int, top: int, seen: int) -> None:
    cutout = cutout_of([[255, 255]] * 3 if left >= 0 else [[255, 255, 255]] * 2)
    depth = np.zeros(cutout.shape[:2], np.float32)
    assert (place_object(BACKGROUND, DEPTH, cutout, depth, left, top).mask == 255).sum() == seen


def test_inputs_are_not_changed() -> None:
    background, depth = BACKGROUND.copy(), DEPTH.copy()
    place_object(background, depth, cutout_of([[255]]), np.zeros((1, 1), np.float32), 0, 0)
    np.testing.assert_array_equal(background, BACKGROUND)
    np.testing.assert_array_equal(depth, DEPTH)


@pytest.mark.parametrize(("left", "top"), [(5, 0), (0, 4), (-1, 0), (0, -1)])
def test_place_outside_the_background_is_an_error(left: int, top: int) -> None:
    with pytest.raises(ValueError, match=r"1 x 1 px at left -?\d, top -?\d lies outside the background of 5 x 4 px"):
        place_object(BACKGROUND, DEPTH, cutout_of([[255]]), np.zeros((1, 1), np.float32), left, top)


def test_shapes_that_do_not_belong_together_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"depth \(4, 4\) and cut-out"):
        place_object(BACKGROUND, DEPTH[:, :4], cutout_of([[255]]), np.zeros((1, 1), np.float32), 0, 0)


def test_resized_edge_keeps_the_colour_of_the_object() -> None:
    cutout = cutout_of([[0] * 8 + [255] * 8] * 16)
    cutout[:, :8, :3] = 0  # black where nothing is seen
    small = resize_cutout(cutout, 6)
    assert small.shape == (6, 6, 4)
    assert (np.abs(small[small[..., 3] > 20][:, :3].astype(int) - 200) <= 3).all()


def test_mirrored_twice_is_the_same() -> None:
    cutout = draw_object("dog", np.random.default_rng(0))
    twice = mirror_cutout(mirror_cutout(cutout))
    np.testing.assert_array_equal(twice.picture, cutout.picture)
    np.testing.assert_array_equal(twice.relief, cutout.relief)
    assert (mirror_cutout(cutout).picture != cutout.picture).any()


@pytest.mark.parametrize("kind", SCENE_KINDS)
def test_every_object_stands_before_what_it_covers_and_changes_nothing_else(kind: str) -> None:
    rng = np.random.default_rng(2)
    scene = draw_scene(kind, rng, 48)
    for object_kind in OBJECT_KINDS:
        placed = stand_object(scene, draw_object(object_kind, rng), rng)
        inside, outside = placed.mask > 127, placed.mask == 0
        np.testing.assert_array_equal(placed.picture[outside], scene.picture[outside])
        np.testing.assert_array_equal(placed.depth[outside], scene.depth[outside])
        assert 0.003 < inside.mean() < 0.5
        assert np.mean(placed.depth[inside] > scene.depth[inside] + 0.03) < 0.1


def test_object_in_front_is_drawn_larger_than_far_behind() -> None:
    scene = draw_scene("park", np.random.default_rng(0), 48)
    cutout = draw_object("person", np.random.default_rng(0))
    placed = [stand_object(scene, cutout, np.random.default_rng(seed)) for seed in range(12)]
    heights = [np.count_nonzero((one.mask > 127).any(axis=1)) for one in placed]
    depths = [float(one.depth[one.mask > 127].mean()) for one in placed]
    assert np.corrcoef(heights, depths)[0, 1] < -0.9
