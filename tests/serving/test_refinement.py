"""Proves that a coarse mask is drawn along what differs: thin parts come back, and nothing appears where none was."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from maskdepth.serving.refinement import refine_mask

COARSE = 32


def draw_room(height, width, seed=0):
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=(height, width, 3)), (3, 3, 0)) * 200
    return np.clip(noise + 120, 0, 160).astype(np.uint8)


def put(room, mask):
    """Put something bright there."""
    return np.where(mask[..., None], np.uint8(230), room)


def see(mask):
    """Blur a mask to what a network sees of it."""
    image = Image.fromarray(mask.astype(np.float32)).resize((COARSE, COARSE), Image.Resampling.BILINEAR)
    return np.asarray(image)


def overlap(pred, truth):
    return (pred & truth).sum() / (pred | truth).sum()


def draw_stool(height, width):
    """A seat on thin legs."""
    mask = np.zeros((height, width), bool)
    across = np.linspace(0.3, 0.7, 4)
    mask[int(0.4 * height) : int(0.5 * height), int(0.3 * width) : int(0.71 * width)] = True
    for x in across:
        mask[int(0.5 * height) : int(0.85 * height), int(x * width) : int(x * width) + max(1, width // 90)] = True
    return mask


@pytest.mark.parametrize(("height", "width"), [(160, 160), (270, 480), (480, 270)])
def test_thin_parts_that_the_network_hardly_sees_come_back(height, width):
    room, mask = draw_room(height, width), draw_stool(height, width)
    seen = see(mask)
    enlarged = np.asarray(Image.fromarray(seen).resize((width, height), Image.Resampling.BILINEAR))
    refined = refine_mask(seen, room, put(room, mask))
    assert refined.shape == (height, width) and refined.dtype == np.float32
    assert overlap(refined > 0.5, mask) > max(0.9, overlap(enlarged > 0.5, mask) + 0.15)


def test_noise_between_two_photographs_changes_next_to_nothing():
    rng = np.random.default_rng(1)
    room, mask = draw_room(160, 160), draw_stool(160, 160)
    noisy = [np.clip(each + rng.normal(0, 4, each.shape), 0, 255).astype(np.uint8) for each in (room, put(room, mask))]
    assert overlap(refine_mask(see(mask), *noisy) > 0.5, mask) > 0.9


def test_what_differs_far_from_the_object_is_none():
    """A curtain that moved, or a shadow: the network has decided that it is no object."""
    room, mask = draw_room(160, 160), draw_stool(160, 160)
    composite = put(room, mask)
    composite[:30] += 60
    assert refine_mask(see(mask), room, composite)[:30].max() < 0.01


def test_an_object_as_coloured_as_the_wall_behind_it_stays_whole():
    room = np.full((160, 160, 3), 120, np.uint8)
    mask = np.zeros((160, 160), bool)
    mask[40:120, 40:120] = True
    composite = put(room, mask)
    composite[70:90, 70:90] = 120  # a part of it does not differ at all
    assert (refine_mask(see(mask), room, composite)[75:85, 75:85] > 0.9).all()


def test_a_picture_no_finer_than_the_mask_keeps_what_the_network_said():
    seen = np.random.default_rng(0).random((COARSE, COARSE), dtype=np.float32)
    same = refine_mask(seen, draw_room(COARSE, COARSE), draw_room(COARSE, COARSE, 1))
    np.testing.assert_allclose(same, seen, atol=1e-6)


def test_without_an_object_there_is_none_anywhere():
    nothing = np.zeros((COARSE, COARSE), np.float32)
    assert not refine_mask(nothing, draw_room(100, 90), draw_room(100, 90, 1)).any()


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 200), st.integers(1, 200), st.integers(0, 99))
def test_any_size_gives_probabilities_and_changes_no_input(height, width, seed):
    rng = np.random.default_rng(seed)
    seen = rng.random((COARSE, COARSE), dtype=np.float32) ** 4
    pictures = rng.integers(0, 256, (2, height, width, 3), np.uint8)
    before = seen.copy(), pictures.copy()
    refined = refine_mask(seen, *pictures)
    assert refined.shape == (height, width)
    assert 0 <= refined.min() <= refined.max() <= 1
    assert (seen == before[0]).all() and (pictures == before[1]).all()
