"""Proves that drawn objects are trimmed, soft at the edge alone, repeatable and rounded."""

import numpy as np
import pytest

from maskdepth.making.drawing.objects import OBJECT_KINDS, draw_object


@pytest.mark.parametrize("kind", OBJECT_KINDS)
def test_object_fills_its_sheet_and_is_opaque_within(kind: str) -> None:
    cutout = draw_object(kind, np.random.default_rng(0))
    alpha = cutout.picture[..., 3]
    assert min(alpha[0].max(), alpha[-1].max(), alpha[:, 0].max(), alpha[:, -1].max()) > 0
    assert np.mean(alpha == 255) > 0.1
    assert np.mean((alpha > 0) & (alpha < 255)) < 0.2
    assert 0 < cutout.share <= 1


@pytest.mark.parametrize("kind", OBJECT_KINDS)
def test_relief_comes_forward_inside_only(kind: str) -> None:
    cutout = draw_object(kind, np.random.default_rng(0))
    assert cutout.relief.shape == cutout.picture.shape[:2]
    assert (cutout.relief[cutout.picture[..., 3] == 0] == 0).all()
    assert 0.01 < cutout.relief.max() < 0.6


def test_same_random_numbers_draw_the_same_object_and_others_another() -> None:
    first, again, other = (draw_object("person", np.random.default_rng(seed)).picture for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or (first != other).any()


def test_a_ball_is_round() -> None:
    alpha = draw_object("ball", np.random.default_rng(0)).picture[..., 3] / 255
    height, width = alpha.shape
    assert abs(height - width) <= 1
    assert alpha.sum() == pytest.approx(np.pi / 4 * height * width, rel=0.03)  # the sheet holds the soft rim too


def test_unknown_kind_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'unicorn' is not known; known: person, dog"):
        draw_object("unicorn", np.random.default_rng(0))
