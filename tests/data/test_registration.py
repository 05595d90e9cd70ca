"""Proves that a background is laid over its composite whatever stands before it, and that a good pair is let be."""

import io
import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from maskdepth.data.registration import register

MARGIN = 12
HEIGHT, WIDTH = 120, 160


def draw_room(seed=0, height=HEIGHT, width=WIDTH):
    """Draw something with structure at all scales and hard edges, a margin wider than the view: float, [0, 255]."""
    rng = np.random.default_rng(seed)
    size = height + 2 * MARGIN, width + 2 * MARGIN
    room = sum(
        ndimage.gaussian_filter(rng.normal(size=(*size, 3)), (blur, blur, 0), mode="wrap") * blur * weight
        for blur, weight in ((1.5, 25), (4, 60), (16, 120))
    )
    for _ in range(12):  # furniture
        top, left = rng.integers(0, size[0] - 20), rng.integers(0, size[1] - 20)
        room[top : top + rng.integers(8, 50), left : left + rng.integers(8, 50)] += rng.normal(0, 30, 3)
    return np.clip(ndimage.gaussian_filter(room, (0.6, 0.6, 0)) + 120, 30, 200)


def matrix_of(right=0.0, down=0.0, degrees=0.0, zoom=1.0, height=HEIGHT, width=WIDTH):
    """Lead from a pixel of the composite to the background whose content has to move by this much."""
    angle = np.radians(degrees)  # counter-clockwise as one sees it: y points down
    forth = zoom * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    back = np.linalg.inv(forth)
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    return np.column_stack([back, middle - back @ (middle + np.array([right, down]))])


def photograph(room, matrix=None):
    """Show the room so that the matrix leads from the unmoved view to this one: float, without the margin."""
    height, width = room.shape[0] - 2 * MARGIN, room.shape[1] - 2 * MARGIN
    back = np.linalg.inv(np.vstack([np.eye(2, 3) if matrix is None else matrix, [0, 0, 1]]))
    y, x = np.mgrid[:height, :width].astype(float)
    places = [back[1, 0] * x + back[1, 1] * y + back[1, 2], back[0, 0] * x + back[0, 1] * y + back[0, 2]]
    places = [place + MARGIN for place in places]
    return np.stack([ndimage.map_coordinates(plane, places, mode="nearest") for plane in np.moveaxis(room, 2, 0)], 2)


def develop(pixels):
    return np.clip(np.round(pixels), 0, 255).astype(np.uint8)


def stand(picture, share, seed=9):
    """Put something of its own texture before the picture that hides this share of it; give its mask too."""
    height, width = picture.shape[:2]
    tall, wide = round(height * np.sqrt(share)), round(width * np.sqrt(share))
    top, left = (height - tall) // 2, (width - wide) // 3
    mask = np.zeros((height, width), bool)
    mask[top : top + tall, left : left + wide] = True
    thing = 255 - draw_room(seed, height, width)[MARGIN:-MARGIN, MARGIN:-MARGIN]
    return np.where(mask[..., None], thing, picture), mask


def compress(pixels, quality):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def corner_error(found, true, height=HEIGHT, width=WIDTH):
    corners = np.array([[0, width - 1, 0, width - 1], [0, 0, height - 1, height - 1], [1, 1, 1, 1]])
    return np.linalg.norm(found @ corners - true @ corners, axis=0).max()


def difference(one, other, where=True):
    return np.abs(one.astype(float) - other).mean(where=np.broadcast_to(where, one.shape))


MOTIONS = {
    "a part of a pixel": {"right": 0.4, "down": -0.3},
    "four in a hundred": {"right": 0.04 * WIDTH, "down": -0.03 * WIDTH},
    "a turn": {"degrees": 2.0},
    "the other turn": {"degrees": -2.0},
    "nearer": {"zoom": 1.02},
    "farther": {"zoom": 0.98},
    "all": {"right": -2.6, "down": 1.3, "degrees": 1.0, "zoom": 1.015},
}


@pytest.mark.parametrize("motion", MOTIONS.values(), ids=MOTIONS)
def test_a_known_motion_is_found(motion):
    room, true = draw_room(), matrix_of(**motion)
    composite, _ = stand(photograph(room), 0.1)
    found = register(develop(photograph(room, true)), develop(composite))
    assert found.verdict == "registered"
    assert corner_error(found.matrix, true) < 0.3


@pytest.mark.parametrize("share", [0.2, 0.3, 0.4])
def test_an_object_does_not_disturb(share):
    room, true = draw_room(1), matrix_of(**MOTIONS["all"])
    view = photograph(room)
    composite, mask = stand(view, share)
    found = register(develop(photograph(room, true) * 0.9), develop(composite))
    assert corner_error(found.matrix, true) < 0.3
    assert difference(found.background, view, ~mask[..., None]) < 3


def test_a_pair_that_fits_stays_bit_for_bit():
    view = develop(photograph(draw_room()))
    rng = np.random.default_rng(0)
    for composite in (view, stand(view, 0.3)[0], compress(view, 80), develop(view + rng.normal(0, 3, view.shape))):
        found = register(view, develop(composite))
        assert found.background is view
        assert found.describe() == "left as it was"
        assert np.array_equal(found.matrix, np.eye(2, 3))


@pytest.mark.parametrize("light", [0.8, 0.9, 1.1, 1.2])
def test_light_is_found(light):
    view = photograph(draw_room())
    composite, mask = stand(view, 0.2)
    found = register(develop(view / light), develop(composite))
    assert np.allclose(found.light.gain + found.light.offset / 128, light, atol=0.02)
    assert difference(found.background, view, ~mask[..., None]) < 2
    assert np.array_equal(found.matrix, np.eye(2, 3))
    assert found.describe() == f"light x{light:.2f}"


def test_a_colour_cast_is_found_under_a_motion():
    room, true = draw_room(), matrix_of(right=2.0, degrees=0.5)
    view = photograph(room)
    gain, offset = np.array([1.1, 1.0, 0.85]), np.array([-5.0, 0.0, 6.0])
    found = register(develop(photograph(room, true)), develop(view * gain + offset))
    assert np.allclose(found.light.gain, gain, atol=0.02)
    assert np.allclose(found.light.offset, offset, atol=2.5)
    assert difference(found.background, view * gain + offset) < 2


def test_what_was_too_bright_to_see_counts_as_the_background():
    view = photograph(draw_room())
    view[20:50, 100:140] = np.linspace(216, 250, 40)[:, None]
    found = register(develop(view * 1.2), develop(view))
    assert np.abs(found.background[22:48, 102:138].astype(float) - view[22:48, 102:138]).max() < 8


def test_what_the_moved_background_does_not_show_is_the_composite():
    room = draw_room()
    composite = develop(photograph(room))
    found = register(develop(photograph(room, matrix_of(right=6))), composite)
    assert np.array_equal(found.background[:, :5], composite[:, :5])
    assert difference(found.background, composite) < 2


@pytest.mark.parametrize("motion", [{"right": 6}, {"right": 6, "degrees": 2}, {"down": -5, "right": 3}])
def test_an_object_that_is_cut_by_the_moved_background_stays_whole(motion):
    room, true = draw_room(), matrix_of(**motion)
    view = photograph(room)
    composite = view.copy()
    mask = np.zeros(view.shape[:2], bool)
    mask[40:80, :20] = mask[-30:, 100:120] = True
    composite[mask] = (250, 20, 30)
    found = register(develop(photograph(room, true)), develop(composite))
    apart = np.abs(found.background.astype(float) - composite).max(2)
    assert (apart[mask] > 40).mean() > 0.97
    is_apart = ndimage.binary_dilation(mask, iterations=2)
    assert (apart[~is_apart] < 12).mean() > 0.99


def test_inputs_are_not_changed():
    room = draw_room()
    background, composite = develop(photograph(room, matrix_of(right=3))), develop(photograph(room))
    before = background.copy(), composite.copy()
    background.flags.writeable = composite.flags.writeable = False
    register(background, composite)
    assert np.array_equal(before, (background, composite))


@pytest.mark.parametrize("quality", [30, 60])
def test_jpeg_is_let_be_or_made_better(quality):
    assert_let_be_or_better(compress(develop(photograph(draw_room())), quality))


def test_noise_is_let_be_or_made_better():
    view = photograph(draw_room())
    assert_let_be_or_better(develop(view + np.random.default_rng(0).normal(0, 8, view.shape)))


def test_blur_is_let_be_or_made_better():
    assert_let_be_or_better(develop(ndimage.gaussian_filter(photograph(draw_room()), (1.5, 1.5, 0))))


def assert_let_be_or_better(background):
    composite, mask = stand(photograph(draw_room()), 0.15)
    found = register(background, develop(composite))
    assert corner_error(found.matrix, np.eye(2, 3)) < 0.3
    wheres = ~mask[..., None]
    assert difference(found.background, composite, wheres) <= 1.01 * difference(background, composite, wheres)


def test_large_pictures_are_found_as_well():
    height, width = 540, 960
    room, true = draw_room(0, height, width), matrix_of(8.0, -5.0, 1.0, height=height, width=width)
    composite, _ = stand(photograph(room), 0.2)
    found = register(develop(photograph(room, true)), develop(composite))
    assert corner_error(found.matrix, true, height, width) < 0.6


@settings(deadline=None, max_examples=30)
@given(
    st.floats(-5, 5), st.floats(-4, 4), st.floats(-2, 2), st.floats(0.98, 1.02), st.floats(0.8, 1.2), st.integers(0, 9)
)
def test_any_small_motion_is_found(right, down, degrees, zoom, light, seed):
    room, true = draw_room(seed), matrix_of(right, down, degrees, zoom)
    composite, _ = stand(photograph(room), 0.2, seed + 1)
    found = register(develop(photograph(room, true) * light), develop(composite))
    assert corner_error(found.matrix, true) < 0.3


def test_it_says_what_it_did():
    room = draw_room()
    background = photograph(room, matrix_of(2.6, -1.3, 1.5, 1.02)) / 0.9
    said = register(develop(background), develop(photograph(room))).describe()
    numbers = [float(number) for number in re.findall(r"-?\d+\.\d+", said)]
    assert re.sub(r"-?\d+\.\d+", "#", said) == "moved #, # px, turned # degrees, # % larger, light x#"
    assert np.allclose(numbers, [2.6, -1.3, 1.5, 2.0, 0.9], atol=0.11)
    cast = register(develop(photograph(room)), develop(photograph(room) * [1.1, 1.0, 0.9]))
    assert cast.describe() == "colours x1.10, x1.00, x0.90"


def test_a_motion_is_undone_by_the_motion_back():
    room, true = draw_room(), matrix_of(**MOTIONS["all"])
    one, other = develop(photograph(room)), develop(photograph(room, true))
    there, back = register(other, one).matrix, register(one, other).matrix
    both = np.vstack([there, [0, 0, 1]]) @ np.vstack([back, [0, 0, 1]])
    assert corner_error(both[:2], np.eye(2, 3)) < 0.3


def test_different_rooms_do_not_fit():
    for seed in range(5):
        background, composite = (develop(photograph(draw_room(number))) for number in (2 * seed, 2 * seed + 1))
        found = register(background, composite)
        assert found.background is background
        assert re.fullmatch(
            r"these two pictures do not fit: \d+ % of the view is alike, expected 45 % or more beside the object",
            found.describe(),
        )


@pytest.mark.parametrize("level", [0, 3, 128, 255])
def test_a_blank_picture_does_not_fit(level):
    view = develop(photograph(draw_room()))
    blank = np.full_like(view, level)
    assert register(blank, view).verdict == "does not fit"
    assert register(view, blank).verdict == "does not fit"
    assert register(blank, blank).verdict == "left as it was"


def test_noise_alone_does_not_fit():
    view = develop(photograph(draw_room()))
    noise = np.random.default_rng(0).integers(0, 256, view.shape, dtype=np.uint8)
    assert register(noise, view).verdict == "does not fit"


def test_a_bare_wall_with_an_object_is_let_be():
    rng = np.random.default_rng(0)
    walls = [np.linspace(150, 180, WIDTH)[:, None] + rng.normal(0, 2, (HEIGHT, WIDTH, 3)) for _ in range(2)]
    composite, _ = stand(walls[1], 0.1)
    assert register(develop(walls[0]), develop(composite)).verdict == "left as it was"


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (7, 9), (15, 16), (16, 16), (17, 40), (40, 2000), (33, 35)])
def test_any_size_will_do(size):
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    assert register(picture, picture.copy()).background is picture
    found = register(picture, np.roll(picture, 1, 1))
    assert found.background.shape == picture.shape
    assert found.background.dtype == np.uint8


def test_sizes_that_differ_are_refused():
    one, other = np.zeros((120, 160, 3), np.uint8), np.zeros((90, 161, 3), np.uint8)
    with pytest.raises(ValueError, match="the background has 160 x 120 pixels, the composite 161 x 90"):
        register(one, other)


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((120, 160, 3)),
        np.zeros((120, 160), np.uint8),
        np.zeros((120, 160, 4), np.uint8),
        np.zeros((0, 9, 3), np.uint8),
    ],
    ids=["floats", "grey", "alpha", "empty"],
)
def test_what_is_no_picture_is_refused(picture):
    good = np.zeros((120, 160, 3), np.uint8)
    with pytest.raises(ValueError, match=re.escape(f"background: found {picture.dtype} of shape {picture.shape}")):
        register(picture, good)
    with pytest.raises(ValueError, match="composite: found"):
        register(good, picture)


@pytest.mark.realdata
def test_photographs_that_fit_are_let_be_and_those_of_other_places_refused():
    folder = os.environ.get("MASKDEPTH_REAL_DATA")
    if not folder:
        pytest.skip("MASKDEPTH_REAL_DATA is not set: it names the folder with the real photographs")
    with zipfile.ZipFile(Path(folder) / "layout1_sudhakarmlal" / "batch1_images.zip") as archive:
        names = [f"fg_bg_jpg/fg_bg_1_{number}_0_1.jpg" for number in (1, 24, 46)]
        names += [f"bg_jpg/bg_img_{number}.jpg" for number in (1, 24, 46)]
        pictures = [np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in names]
    composites, backgrounds = pictures[:3], pictures[3:]
    verdicts = [[register(background, composite).verdict for composite in composites] for background in backgrounds]
    kept, refused = "left as it was", "does not fit"
    assert verdicts == [[kept if row == column else refused for column in range(3)] for row in range(3)]
