"""Proves that depth labels of one background agree outside the object, that far is bright, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskdepth.data.pictures.refusal import RefusedError
from maskdepth.making.labelling.alignment import (
    fit_scale_and_shift,
    label_aligned,
    label_alone,
    measure_edge_step,
    measure_range,
    normalise,
    widen,
)

SIDE = 40  # [px]; the border is then 2 wide


def ramp() -> np.ndarray:
    """Distance that grows from 1 at the bottom to 5 at the top."""
    return np.repeat(np.linspace(5.0, 1.0, SIDE)[:, None], SIDE, 1)


def square(size: int = 8) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[16 : 16 + size, 16 : 16 + size] = True
    return mask


def with_object(distance: float) -> np.ndarray:
    return np.where(square(), distance, ramp())


@given(
    scale=st.floats(0.01, 100),
    shift=st.floats(-100, 100),
    seed=st.integers(0, 2**32 - 1),
    flip=st.sampled_from([1, -1]),
)
def test_a_known_scale_and_shift_are_recovered(scale, shift, seed, flip):
    values = np.random.default_rng(seed).normal(size=(12, 9))
    found = fit_scale_and_shift(values, flip * scale * values + shift, np.ones_like(values, bool))
    assert found == pytest.approx((flip * scale, shift), rel=1e-9, abs=1e-9)


def test_the_fit_is_that_of_a_general_least_squares_solver():
    random = np.random.default_rng(0)
    values, target, valid = random.normal(size=(9, 7)), random.normal(size=(9, 7)), random.random((9, 7)) > 0.5
    design = np.stack([values[valid], np.ones(valid.sum())], 1)
    expected = np.linalg.lstsq(design, target[valid], rcond=None)[0]
    assert fit_scale_and_shift(values, target, valid) == pytest.approx(tuple(expected), abs=1e-12)


def test_pixels_of_the_object_do_not_count_in_the_fit():
    wild = np.where(widen(square()), 1e6, (ramp() - 3) / 2)
    assert fit_scale_and_shift(wild, ramp(), ~widen(square())) == pytest.approx((2, 3))


def test_composites_of_one_background_get_its_label_outside_the_object():
    # The network sees everything five times as far and shifted, because of what was put into the picture.
    label = label_aligned(5 * with_object(2.0) + 7, ramp(), square())
    alone = label_alone(ramp()).depth
    np.testing.assert_allclose(label.depth[~square()], alone[~square()], atol=1e-12)
    assert label.variance_outside == pytest.approx(0, abs=1e-20)


def test_the_variance_outside_counts_what_the_network_says_otherwise_of_the_same_scene():
    stripes = np.where(np.arange(SIDE) % 2, 0.01, -0.01)
    near, far = measure_range(ramp())
    variance = label_aligned(ramp() + stripes, ramp(), square()).variance_outside
    # Of 40 rows the one at either end is clipped alike with and without stripes.
    assert variance == pytest.approx((0.01 / (far - near)) ** 2, rel=0.08)


@pytest.mark.parametrize(("distance", "sign"), [(1.0, -1), (5.0, 1)])
def test_the_edge_step_is_negative_for_an_object_in_front(distance, sign):
    step = label_aligned(with_object(distance), ramp(), square()).edge_step
    assert np.sign(step) == sign


def test_the_edge_step_is_inside_less_outside():
    assert measure_edge_step(np.where(square(), 0.25, 0.75), square()) == pytest.approx(-0.5)
    assert measure_edge_step(ramp(), np.zeros((SIDE, SIDE), bool)) is None


def test_near_is_0_and_far_is_1():
    depth = label_alone(ramp()).depth
    assert (depth[0] == 1).all() and (depth[-1] == 0).all()
    assert (np.diff(depth[:, 0]) <= 0).all()


def test_the_range_leaves_out_two_percent_at_either_end():
    assert measure_range(np.arange(101.0).reshape(1, 101)) == (2, 98)
    label = label_alone(np.arange(101.0).reshape(1, 101))
    assert label.saturated == pytest.approx(6 / 101)  # 0, 1, 2 and 98, 99, 100


def test_nothing_leaves_0_to_1():
    depth = normalise(np.array([-np.inf, -1e9, 0.5, 1e9, np.inf]), 0, 1)
    assert depth.tolist() == [0, 0, 0.5, 1, 1]


def test_the_border_grows_with_the_picture():
    mask = np.zeros((100, 100), bool)
    mask[50, 50] = True
    assert widen(mask).sum() == 11 * 11  # 5 to each side


def test_a_negative_fit_is_another_scene():
    with pytest.raises(RefusedError, match=r"another scene .*scale -1.*check that composite, background and mask"):
        label_aligned(-ramp(), ramp(), square())


def test_a_mask_over_everything_leaves_nothing_to_align_with():
    with pytest.raises(RefusedError, match=r"leave no background to align with; check the mask"):
        label_aligned(ramp(), ramp(), np.ones((SIDE, SIDE), bool))


def test_a_flat_map_is_refused():
    flat = np.full((SIDE, SIDE), 3.0)
    for label in (lambda: label_alone(flat), lambda: label_aligned(flat, ramp(), square())):
        with pytest.raises(RefusedError, match="every pixel is equally far"):
            label()


def test_a_map_that_is_not_finite_is_refused():
    broken = np.where(square(), np.nan, ramp())
    for label in (lambda: label_alone(broken), lambda: label_aligned(ramp(), broken, square())):
        with pytest.raises(RefusedError, match="not finite"):
            label()


def test_maps_of_other_sizes_are_refused():
    with pytest.raises(RefusedError, match=r"differ in height and width: \(40, 40\), \(20, 40\), \(40, 40\)"):
        label_aligned(ramp(), ramp()[:20], square())
