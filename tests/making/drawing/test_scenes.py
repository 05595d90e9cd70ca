"""Proves that drawn backgrounds are repeatable, differ from one another, and offer ground of known depth."""

import numpy as np
import pytest

from maskdepth.making.drawing.scenes import SCENE_KINDS, draw_scene

SIZE = 32


@pytest.mark.parametrize("kind", SCENE_KINDS)
def test_same_random_numbers_draw_the_same_scene_and_others_another(kind: str) -> None:
    first, again, other = (draw_scene(kind, np.random.default_rng(seed), SIZE) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.picture, again.picture)
    np.testing.assert_array_equal(first.depth, again.depth)
    assert np.abs(first.picture.astype(int) - other.picture).mean() > 10
    assert np.abs(first.depth - other.depth).mean() > 0.01


@pytest.mark.parametrize("kind", SCENE_KINDS)
def test_ground_to_stand_on_has_the_depth_that_its_row_says(kind: str) -> None:
    scene = draw_scene(kind, np.random.default_rng(3), SIZE)
    rows, _ = np.nonzero(scene.standing)
    expected = scene.camera.relative_depth(scene.camera.ground_depth((rows + 0.5) / SIZE))
    assert scene.standing.mean() > 0.1
    # At its edges a pixel shows something else too.
    assert np.mean(np.abs(scene.depth[scene.standing] - expected) < 0.01) > 0.85


@pytest.mark.parametrize("kind", SCENE_KINDS)
def test_picture_and_depth_use_their_range(kind: str) -> None:
    scene = draw_scene(kind, np.random.default_rng(1), SIZE)
    assert scene.picture.shape == (SIZE, SIZE, 3) and scene.picture.dtype == np.uint8
    assert scene.picture.std() > 15
    assert scene.depth.min() >= 0 and scene.depth.max() <= 1
    assert np.ptp(scene.depth) > 0.3


def test_unknown_kind_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'moon' is not known; known: room, street"):
        draw_scene("moon", np.random.default_rng(0), SIZE)
