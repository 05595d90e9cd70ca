"""Proves that drawn depth is exact: rays, camera and light follow geometry that can be worked out by hand."""

import numpy as np
import pytest

from maskdepth.making.drawing.camera import Camera
from maskdepth.making.drawing.raycast import Lamp, Solid, View, box, cylinder, ellipsoid, ground, render
from maskdepth.making.drawing.textures import FloatArray

LEVEL = Camera(height=1.5, pitch=0.0, focal=1.0)
TILTED = Camera(height=1.5, pitch=0.3, focal=0.9)


def white(u: FloatArray, v: FloatArray) -> FloatArray:
    return np.full((len(u), 3), 0.8)


def black(u: FloatArray, v: FloatArray) -> FloatArray:
    return np.zeros((len(u), 3))


def view_of(solids: list[Solid], camera: Camera, lamps: list[Lamp] | None = None, yaw: float = 0.0) -> View:
    return View(camera, yaw, solids, lamps or [], np.ones(3) * 0.3, reach=0.5, sky=black, figure_height=1.0)


def middle_metres(solid: Solid) -> float:
    """Depth of what a level camera sees straight ahead."""
    depth = render(view_of([solid], LEVEL), 33).depth[16, 16]
    return float(LEVEL.relative_depth(np.array(1e9)) * 0.9 * LEVEL.ground_depth(np.array(1.0)) / (1 - depth))


@pytest.mark.parametrize(
    ("solid", "metres"),
    [
        (box(0, 0, 5, (2, 3, 1), white), 4.5),
        (box(0, 0, 5, (1, 3, 3), white, yaw=np.pi / 2), 4.5),
        (cylinder(0, 0, 5, 0.7, 3, white), 4.3),
        (ellipsoid(0, 1.5, 5, (2, 2, 1), white), 4.0),
    ],
)
def test_depth_straight_ahead_is_the_distance_to_the_front(solid: Solid, metres: float) -> None:
    assert middle_metres(solid) == pytest.approx(metres, rel=0.01)


@pytest.mark.parametrize("camera", [LEVEL, TILTED])
@pytest.mark.parametrize("yaw", [0.0, 0.4])
def test_depth_of_ground_follows_from_its_row_alone(camera: Camera, yaw: float) -> None:
    scene = render(view_of([ground(white)], camera, yaw=yaw), 24)
    rows = (np.arange(24) + 0.5) / 24
    expected = camera.relative_depth(camera.ground_depth(rows))
    low = rows > 0.7
    np.testing.assert_allclose(scene.depth[low], np.broadcast_to(expected[:, None], (24, 24))[low], atol=2e-3)


def test_nearer_solid_hides_farther_one_whatever_their_order() -> None:
    near, far = box(0, 0, 3, (1, 3, 1), white), box(0, 0, 8, (9, 9, 1), black)
    one, other = (render(view_of(solids, LEVEL), 16) for solids in ([near, far], [far, near]))
    np.testing.assert_array_equal(one.depth, other.depth)
    np.testing.assert_array_equal(one.picture, other.picture)
    assert one.picture[8, 8].min() > 0 and one.picture[8, 0].max() == 0


def test_a_solid_changes_depth_only_where_it_is_seen() -> None:
    floor, thing = ground(white), box(0, 0, 4, (1, 1, 1), white)
    without, with_thing = (render(view_of(solids, LEVEL), 32).depth for solids in ([floor], [floor, thing]))
    changed = without != with_thing
    assert 0 < changed.mean() < 0.2
    assert (with_thing[changed] < without[changed]).all()


def test_sky_is_farthest_and_nothing_stands_on_it() -> None:
    scene = render(view_of([ground(white)], LEVEL), 16)
    assert (scene.depth[:8] == 1).all()
    assert not scene.standing[:8].any() and scene.standing[12:].all()


def test_ground_below_a_thing_lies_in_the_shadow_of_the_sun() -> None:
    sun = Lamp(np.array([0.0, 1.0, 0.0], np.float32), np.ones(3), is_point=False)
    roof = box(1, 2.5, 4, (2, 0.1, 4), white)
    picture = render(view_of([ground(white), roof], LEVEL, [sun]), 32).picture
    lit, shaded = picture[28, 8].mean(), picture[28, 22].mean()
    assert shaded < 0.6 * lit


def test_foot_of_a_wall_is_darker_than_the_open_floor() -> None:
    wall = box(0, 0, 5.5, (20, 4, 1), black)
    picture = render(view_of([ground(white), wall], LEVEL), 64).picture.mean(axis=(1, 2))
    foot = np.flatnonzero(picture > 0)[1]
    assert picture[foot] < picture[-1]


@pytest.mark.parametrize("camera", [LEVEL, TILTED])
def test_what_is_as_tall_as_the_camera_ends_at_the_horizon(camera: Camera) -> None:
    horizon = 0.5 - np.tan(camera.pitch) * camera.focal
    np.testing.assert_allclose(camera.top_row(np.array([0.7, 0.8, 1.0]), camera.height), horizon)


@pytest.mark.parametrize("camera", [LEVEL, TILTED])
def test_upright_plane_touches_the_ground_at_its_foot(camera: Camera) -> None:
    foot = np.array(0.8)
    assert camera.top_row(foot, 0.0) == pytest.approx(0.8)
    assert camera.upright_depth(0.8, foot) == pytest.approx(float(camera.ground_depth(foot)))


def test_relative_depth_is_a_tenth_at_the_bottom_edge_and_one_at_infinity() -> None:
    bottom = TILTED.ground_depth(np.array(1.0))
    np.testing.assert_allclose(TILTED.relative_depth(np.array([bottom, 2 * bottom, np.inf, 0.0])), [0.1, 0.55, 1, 0])
