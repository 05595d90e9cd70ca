"""Proves that objects are put inside, across and down independently, and as large and near as what they stand on."""

import numpy as np
import pytest

from maskdepth.making.composing.placing import RULES, Place, object_plane, place_on_ground, place_uniform

SIZE = 20
RAMP = np.repeat(np.linspace(1, 0, SIZE, dtype=np.float32)[:, None], SIZE, axis=1)  # nearer farther down


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("depth", [None, RAMP, np.ones_like(RAMP)], ids=["unknown", "ramp", "all far"])
@pytest.mark.parametrize(("tall", "proportion"), [(20, 1.0), (5, 4.0), (20, 0.1), (13, 1.2), (4, 0.5)])
def test_every_place_lies_inside(rule: str, depth: np.ndarray | None, tall: int, proportion: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        place = RULES[rule](rng, SIZE, tall, proportion, depth)
        assert place.left >= 0 and place.left + place.width <= SIZE
        assert place.top >= 0 and place.top + place.height <= SIZE
        assert 2 <= place.height <= tall and place.width >= 1


def test_uniform_reaches_every_column_and_row_independently() -> None:
    rng = np.random.default_rng(0)
    places = {place_uniform(rng, 6, tall=2, proportion=2.0, depth=None) for _ in range(400)}
    # 4 wide and 2 tall on 6 x 6: columns 0 to 2 with rows 0 to 4, each with each, also where both are equal.
    assert places == {Place(left, top, 4, 2) for left in range(3) for top in range(5)}


def test_what_fills_the_background_has_one_place() -> None:
    assert place_uniform(np.random.default_rng(5), 8, 8, 1.0, None) == Place(0, 0, 8, 8)


def test_without_depth_the_row_of_the_foot_decides_the_height() -> None:
    rng = np.random.default_rng(0)
    heights = {}
    for _ in range(300):
        place = place_on_ground(rng, SIZE, tall=12, proportion=0.5, depth=None)
        heights[place.top + place.height] = place.height
    # Horizon in row 8: a foot in row 12 is 4 of 12 rows below it, one in row 20 all 12.
    assert heights == {12: 4, 13: 5, 14: 6, 15: 7, 16: 8, 17: 9, 18: 10, 19: 11, 20: 12}


def test_with_depth_an_object_on_ground_half_as_near_is_half_as_tall() -> None:
    depth = np.full((SIZE, SIZE), 0.8, np.float32)
    depth[-1] = 0.6  # nearness 0.4 in the lowest row, 0.2 above
    rng = np.random.default_rng(0)
    for _ in range(100):
        place = place_on_ground(rng, SIZE, tall=10, proportion=0.5, depth=depth)
        assert place.height == (10 if place.top + place.height == SIZE else 5)


def test_a_plane_is_nearer_than_the_ground_and_than_what_it_covers() -> None:
    depth = np.full((4, 4), 0.5, np.float32)
    alpha = np.full((2, 2), 255, np.uint8)
    depth[2] = 0.4
    assert object_plane(depth, alpha, Place(1, 1, 2, 2)) == pytest.approx(0.35)
    depth[1] = 0.2  # covered, and nearer than the ground
    assert object_plane(depth, alpha, Place(1, 1, 2, 2)) == pytest.approx(0.15)
    depth[1:3] = 0.01
    assert object_plane(depth, alpha, Place(1, 1, 2, 2)) == 0


def test_what_is_not_the_object_does_not_decide_its_plane() -> None:
    depth = np.full((3, 3), 0.1, np.float32)
    depth[1, 1] = 0.7
    alpha = np.array([[9, 9, 9], [9, 200, 9], [9, 9, 9]], np.uint8)
    assert object_plane(depth, alpha, Place(0, 0, 3, 3)) == pytest.approx(0.65)
