"""Proves that an object is pasted as worked out by hand: opacity blends colour and depth, and is the mask."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.cutouts import composition_in

from maskdepth.making.composing.placing import Place
from maskdepth.making.composing.rendering import choose_place, paste
from maskdepth.making.layout_writer import Sample

BACKGROUND = np.full((3, 4, 3), 100, np.uint8)
CUTOUT = np.array([[[200, 200, 200, 255], [200, 200, 200, 51]]], np.uint8)


def test_a_golden_placement() -> None:
    depth = np.full((3, 4), 0.8, np.float32)
    composite, plane = paste(BACKGROUND, depth, CUTOUT, Place(left=1, top=2, width=2, height=1))
    assert plane == pytest.approx(0.75)  # 0.05 nearer than the ground
    np.testing.assert_array_equal(composite.picture[2, :, 0], [100, 200, 120, 100])  # 51 is a fifth of 255
    np.testing.assert_array_equal(composite.mask[2], [0, 255, 51, 0])
    np.testing.assert_allclose(composite.depth[2], [0.8, 0.75, 0.79, 0.8], rtol=1e-6)
    assert (composite.picture[:2] == 100).all() and not composite.mask[:2].any()


def test_without_depth_there_is_no_plane() -> None:
    composite, plane = paste(BACKGROUND, None, CUTOUT, Place(left=0, top=0, width=2, height=1))
    assert plane is None
    np.testing.assert_array_equal(composite.mask[0], [255, 51, 0, 0])


@pytest.mark.parametrize("change", ["foreground", "background", "placement"])
def test_every_id_draws_its_own_place_and_the_same_one_again(change: str) -> None:
    composition = replace(composition_in(Path()), size=1000)
    sample = Sample(0, foreground=1, background=1, flip=0, placement=1)
    place = choose_place(composition, sample, (8, 6, 4), None)
    assert (place.width, place.height) == (6, 8)
    assert choose_place(composition, sample, (8, 6, 4), None) == place
    assert choose_place(composition, sample._replace(**{change: 2}), (8, 6, 4), None) != place
    assert choose_place(replace(composition, seed=1), sample, (8, 6, 4), None) != place
