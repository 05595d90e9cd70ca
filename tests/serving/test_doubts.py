"""Proves that a bad picture is told, with what to do, and that an ordinary one is not."""

import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy import ndimage

from maskdepth.data.pictures.refusal import RefusedError
from maskdepth.serving.doubts import doubt_object, doubt_picture, doubt_shape, refuse_same

SIDE = 64
NAMES = "room.jpg", "visitor.jpg"


def photograph(seed=0):
    """Draw something as even at all scales as photographs are."""
    rng = np.random.default_rng(seed)
    shades = [ndimage.zoom(rng.normal(size=(n, n, 3)), (SIDE / n, SIDE / n, 1), order=1) for n in (4, 8, 16, 32, 64)]
    return np.clip(128 + 22 * sum(shades), 0, 255).astype(np.uint8)


def doubt(pixels, mean=0.5, std=0.2):
    return list(doubt_picture("a.jpg", pixels, np.full(3, mean), np.full(3, std)))


def test_ordinary_pictures_are_not_doubted():
    for seed in range(5):
        assert doubt(photograph(seed)) == []


@pytest.mark.parametrize(
    ("pixels", "told"),
    [
        (np.zeros((SIDE, SIDE, 3), np.uint8), "shows next to nothing"),
        (np.full((SIDE, SIDE, 3), 255, np.uint8), "shows next to nothing"),
        (np.full((SIDE, SIDE, 3), 128, np.uint8), "shows next to nothing"),
        (photograph() // 5, "is darker than anything in training; expose it anew"),
        (255 - photograph() // 5, "is brighter than anything in training; expose it anew"),
    ],
)
def test_pictures_unlike_those_of_training_are_told(pixels, told):
    (said,) = doubt(pixels, std=0.15)
    assert said.startswith(f"a.jpg {told}")


def test_a_blur_that_the_network_would_see_is_told_and_a_finer_one_is_not():
    image = Image.fromarray(photograph())
    soft, blurred = (np.asarray(image.filter(ImageFilter.GaussianBlur(radius))) for radius in (0.4, 2))
    assert doubt(soft) == []
    assert doubt(blurred) == ["a.jpg is blurred, unlike anything in training; take it again, sharp"]


def test_only_a_shape_beyond_what_was_measured_is_told():
    assert [list(doubt_shape("a.jpg", *size)) for size in ((16, 9), (9, 16), (70, 20))] == [[], [], []]
    assert list(doubt_shape("a.jpg", 20, 80)) == [
        "a.jpg is 4.0 times as long as it is wide, and the network sees it squeezed; crop it"
    ]


def test_the_object_in_the_first_picture_is_told_and_in_the_second_is_not():
    room, mask = photograph(), np.zeros((SIDE, SIDE), np.float32)
    mask[20:44, 24:40] = 1
    visitor = np.where(mask[..., None] > 0, np.uint8(250), room)
    assert list(doubt_object(NAMES, room, visitor, mask)) == []
    assert list(doubt_object(NAMES, visitor, room, mask)) == [
        "the object seems to be in room.jpg and not in visitor.jpg; swap the two"
    ]


def test_a_scene_without_an_object_is_told():
    nothing = np.zeros((SIDE, SIDE), np.float32)
    assert list(doubt_object(NAMES, photograph(), photograph(), nothing)) == [
        "no object found; is there one in visitor.jpg that is not in room.jpg?"
    ]


def test_equal_pictures_are_refused_and_a_pixel_s_difference_is_not():
    room = photograph()
    with pytest.raises(RefusedError, match="are the same picture; name the one with the object second"):
        refuse_same(room, room.copy())
    other = room.copy()
    other[3, 4, 1] ^= 1
    refuse_same(room, other)
