"""Intervals: they hold the truth as often as they say, equal a naive loop, and are not given for too few groups."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskdepth.evaluation.intervals import cross, crossed_estimate, group, intervals, place_column

# What depth SSIM was measured to vary by: between backgrounds, between objects, and what is left.
PLACE_VARIANCE, OBJECT_VARIANCE, REST_VARIANCE = 0.084, 0.008, 0.013
NUM_OBJECTS = 40


def normal(random, variance, size):
    return random.normal(scale=variance**0.5, size=size)


def crossed_scores(random, place, thing):
    """Draw one score per sample, of mean 0, with the measured variances."""
    effects = normal(random, PLACE_VARIANCE, place.max() + 1)[place]
    effects += normal(random, OBJECT_VARIANCE, thing.max() + 1)[thing]
    return effects + normal(random, REST_VARIANCE, len(place))


def coverage(place, thing, simulations, seed):
    random = np.random.default_rng(seed)
    by_place, by_object = group(place), group(thing)
    cell = cross(by_place, by_object)
    hits = 0
    for _ in range(simulations):
        low, high = crossed_estimate(crossed_scores(random, place, thing), by_place, by_object, cell).interval(0.95)
        hits += low <= 0 <= high
    return hits / simulations


def table(num_places, num_objects, seed=0):
    random = np.random.default_rng(seed)
    pairs = [(place, thing) for place in range(num_places) for thing in range(num_objects)]
    samples = pd.DataFrame(pairs, columns=["background", "foreground"])
    return samples.assign(mask_iou=random.random(len(samples)))


@pytest.mark.parametrize("num_places", [5, 8, 13, 37])
def test_the_interval_holds_the_truth_in_95_of_100_worlds(num_places):
    place = np.repeat(np.arange(num_places), 20)
    thing = np.random.default_rng(num_places).integers(0, NUM_OBJECTS, len(place))
    assert 0.92 <= coverage(place, thing, 2000, seed=num_places) <= 0.98


@pytest.mark.parametrize("num_places", [8, 37])
def test_the_interval_holds_the_truth_when_a_few_places_have_most_samples(num_places):
    random = np.random.default_rng(num_places)
    place = random.choice(num_places, 20 * num_places, p=random.dirichlet(np.full(num_places, 2.0)))
    place = np.unique(place, return_inverse=True)[1]
    thing = random.integers(0, NUM_OBJECTS, len(place))
    assert 0.92 <= coverage(place, thing, 2000, seed=1) <= 0.99


def naive_variance(values, labels):
    """Cluster the variance of the mean in one way, as the definition says it: by pairs of samples of one group."""
    residuals = values - values.mean()
    total = 0.0
    for one, label in zip(residuals, labels, strict=True):
        for other, other_label in zip(residuals, labels, strict=True):
            total += one * other * (label == other_label)
    weights = [list(labels).count(label) / len(labels) for label in sorted(set(labels))]
    second, third = (sum(weight**power for weight in weights) for power in (2, 3))
    return total / len(values) ** 2 * second / (second - 2 * third + second**2)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5), st.floats(-1, 1)), min_size=3, max_size=40))
def test_the_variance_equals_that_of_a_naive_loop(rows):
    places, things, values = (np.array(column) for column in zip(*rows, strict=True))
    if len(set(places)) < 2 or len(set(things)) < 2:
        return
    by_place, by_object = group(places), group(things)
    found = crossed_estimate(values, by_place, by_object, cross(by_place, by_object))
    in_place, in_object = naive_variance(values, places), naive_variance(values, things)
    in_cell = naive_variance(values, [f"{place} {thing}" for place, thing in zip(places, things, strict=True)])
    assert found.variance == pytest.approx(max(in_place + in_object - in_cell, in_place, in_object), abs=1e-12)
    assert found.mean == pytest.approx(values.mean())


def test_the_moments_of_unequal_groups_are_those_of_the_matrix():
    sizes = np.array([1, 2, 5, 9, 20])
    weights = sizes / sizes.sum()
    removes_mean = np.eye(5) - np.outer(weights, np.ones(5))
    covariance = removes_mean @ np.diag(weights**2) @ removes_mean.T
    expected = np.trace(covariance)
    found = group(np.repeat(np.arange(5), sizes))
    assert found.correction == pytest.approx((weights**2).sum() / expected)
    assert found.degrees_of_freedom == pytest.approx(expected**2 / np.trace(covariance @ covariance))


def test_equal_groups_have_one_degree_of_freedom_fewer_than_they_are():
    found = group(np.repeat(np.arange(7), 3))
    assert (found.correction, found.degrees_of_freedom) == (pytest.approx(7 / 6), pytest.approx(6))


def test_independent_samples_get_the_interval_of_the_textbook():
    values = np.random.default_rng(1).normal(size=400)
    samples = pd.DataFrame({"background": np.arange(400), "foreground": np.arange(400), "mask_iou": values})
    row = intervals(samples, ["mask_iou"]).loc["mask_iou"]
    assert row["high"] - row["low"] == pytest.approx(2 * 1.966 * values.std(ddof=1) / 20, rel=0.01)


def test_an_error_shared_by_a_place_widens_the_interval():
    samples = table(10, 50)
    samples["mask_iou"] = samples["background"] / 10
    shuffled = samples.assign(mask_iou=np.random.default_rng(0).permutation(samples["mask_iou"]))
    shared, own = (np.ptp(intervals(part, ["mask_iou"])[["low", "high"]].iloc[0]) for part in (samples, shuffled))
    assert shared > 3 * own


def test_a_constant_metric_has_an_interval_without_width():
    row = intervals(table(5, 6).assign(mask_iou=0.25), ["mask_iou"]).loc["mask_iou"]
    assert row[["mean", "low", "high"]].tolist() == pytest.approx([0.25, 0.25, 0.25])


@pytest.mark.parametrize(("num_places", "num_objects"), [(4, 30), (30, 4), (1, 1), (1, 30)])
def test_below_five_groups_there_are_counts_and_no_interval(num_places, num_objects):
    row = intervals(table(num_places, num_objects), ["mask_iou"]).loc["mask_iou"]
    assert (row["groups"], row["objects"]) == (num_places, num_objects)
    assert np.isfinite(row["mean"])
    assert row[["low", "high"]].isna().all()


def test_from_five_groups_on_there_is_an_interval():
    assert intervals(table(5, 5), ["mask_iou"])[["low", "high"]].notna().all(axis=None)


def test_backgrounds_of_one_place_are_one_group():
    samples = table(12, 20)
    samples["place"] = samples["background"] // 2
    assert place_column(samples) == "place"
    row = intervals(samples, ["mask_iou"]).loc["mask_iou"]
    assert row["groups"] == 6
    alone = intervals(samples.drop(columns="background"), ["mask_iou"])
    pd.testing.assert_frame_equal(alone, intervals(samples, ["mask_iou"]))


def test_a_metric_that_is_not_finite_has_no_interval():
    samples = table(6, 6)
    samples.loc[3, "mask_iou"] = np.nan
    assert intervals(samples, ["mask_iou"])[["mean", "low", "high"]].isna().all(axis=None)


def test_the_order_of_samples_changes_nothing():
    samples = table(6, 9)
    shuffled = samples.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(intervals(samples, ["mask_iou"]), intervals(shuffled, ["mask_iou"]))


def test_sixty_thousand_places_and_objects_need_no_table_of_both():
    random = np.random.default_rng(0)
    groups = {name: random.integers(0, 60_000, 400_000) for name in ("place", "foreground")}
    samples = pd.DataFrame({**groups, "mask_iou": random.random(400_000)})  # the full table would have 29 GB
    row = intervals(samples, ["mask_iou"]).loc["mask_iou"]
    assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * 12**-0.5 / 400_000**0.5, rel=0.1)


def test_no_samples_have_no_mean():
    assert intervals(table(5, 5).iloc[:0], ["mask_iou"])["mean"].isna().all()
