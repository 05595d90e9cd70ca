"""Moments from the table are exactly those of the pixels, for the whole data set and for any part of it."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskdepth.data.arrays.arrays import ShardedArray
from maskdepth.data.index.joining import build_index
from maskdepth.data.pictures.decoding import PICTURE_KINDS
from maskdepth.data.stats import (
    measure_kind,
    merge_moments,
    read_stats,
    subset_moments,
    summarise,
    write_stats,
    write_summary,
)


@pytest.fixture(scope="module")
def samples(toy):
    return build_index(*toy).samples


@pytest.fixture(scope="module")
def stats(arrays, samples, tmp_path_factory):
    path = tmp_path_factory.mktemp("stats") / "stats.csv"
    write_stats(path, {kind: measure_kind(samples, arrays, kind) for kind in PICTURE_KINDS})
    return read_stats(path)


def measure_directly(samples, arrays, kind):
    """Mean and standard deviation of all pixels, the plain way."""
    rows = samples[f"{kind}_row"].unique() if kind == "background" else samples[f"{kind}_row"]
    pixels = getattr(arrays, kind).take(np.asarray(rows)).astype(np.float64) / (1 if kind == "mask" else 255)
    flat = pixels.reshape(-1, pixels.shape[3] if pixels.ndim == 4 else 1)
    return flat.mean(0), flat.std(0)


@pytest.mark.parametrize("kind", PICTURE_KINDS)
def test_moments_equal_those_of_the_pixels(arrays, samples, kind):
    moments = merge_moments(measure_kind(samples, arrays, kind).table)
    mean, std = measure_directly(samples, arrays, kind)
    np.testing.assert_allclose(moments.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(moments.std, std, rtol=1e-9)


def measure_depths(arrays, depths):
    """Measure (2, H, W) depth pictures as the two samples of one group."""
    samples = pd.DataFrame({"foreground": [1, 1], "background": [5, 5], "depth_row": [1, 0]})
    return measure_kind(samples, replace(arrays, depth=ShardedArray([np.array(depths, np.uint8)])), "depth")


def test_sums_worked_by_hand(arrays):
    measured = measure_depths(arrays, [[[1, 2]], [[3, 4]]])
    assert measured.images == 2
    assert measured.table.to_dict("records") == [
        {
            "foreground": "1",
            "background": "5",
            "kind": "depth",
            "channel": 0,
            "count": 4,
            "sum": 10,
            "sum_of_squares": 30,
        }
    ]
    assert measured.histogram.nonzero()[0].tolist() == [1, 2, 3, 4]


@given(st.data())
@settings(max_examples=8)
def test_any_subset_is_exactly_as_if_only_it_was_read(arrays, samples, stats, data):
    chosen = data.draw(st.sets(st.sampled_from(samples["sample_id"].tolist()), min_size=1))
    part = samples[samples["sample_id"].isin(chosen)]
    alone = {kind: merge_moments(measure_kind(part, arrays, kind).table) for kind in PICTURE_KINDS}
    assert subset_moments(stats, samples, arrays, part) == alone


def test_whole_groups_come_from_the_table_alone(arrays, samples, stats):
    part = samples[samples["background"].eq(2)]
    # A table of pictures twice as bright: only what is taken from it can show that.
    doubled = stats.assign(sum=stats["sum"] * 2, sum_of_squares=stats["sum_of_squares"] * 4)
    once, twice = (subset_moments(table, samples, arrays, part) for table in (stats, doubled))
    for kind in PICTURE_KINDS:
        np.testing.assert_allclose(twice[kind].mean, 2 * np.array(once[kind].mean))


@given(st.permutations(range(6)))
@settings(max_examples=20)
def test_merging_does_not_depend_on_the_order_of_the_groups(stats, order):
    masks = stats[stats["kind"] == "mask"]
    assert merge_moments(masks.iloc[list(order)]) == merge_moments(masks)


def test_large_sums_do_not_overflow_or_cancel():
    # 10^13 pixels of level 200 and as many of 202: mean 201, deviation 1.
    row = ("depth", 0, 2 * 10**13, 402 * 10**13, (200**2 + 202**2) * 10**13)
    table = pd.DataFrame([row], columns=["kind", "channel", "count", "sum", "sum_of_squares"])
    moments = merge_moments(table)
    assert moments.mean[0] == pytest.approx(201 / 255, rel=1e-15)
    assert moments.std[0] == pytest.approx(1 / 255, rel=1e-15)


def test_constant_pictures_have_deviation_zero_and_not_nan(arrays):
    assert merge_moments(measure_depths(arrays, np.full((2, 3, 3), 77)).table).std == (0.0,)


def test_the_deviation_is_that_of_all_pixels_and_not_the_mean_over_images(arrays):
    # A black and a white image, each without contrast of its own.
    assert merge_moments(measure_depths(arrays, [[[0, 0]], [[255, 255]]]).table).std == (0.5,)


def test_moments_of_several_kinds_at_once_are_refused(stats):
    with pytest.raises(ValueError, match=r"one kind .* found \['background', 'composite', 'mask', 'depth'\]"):
        merge_moments(stats)
    with pytest.raises(ValueError, match=r"found \[\]"):
        merge_moments(stats.iloc[:0])


def test_an_empty_subset_is_refused(arrays, samples, stats):
    with pytest.raises(ValueError, match="no samples to take the moments of"):
        subset_moments(stats, samples, arrays, samples.iloc[:0])


def test_a_table_of_other_samples_is_refused(arrays, samples, stats):
    with pytest.raises(ValueError, match=r"stats.csv lacks groups .*dvc repro"):
        subset_moments(stats[stats["background"] != "2"], samples, arrays, samples)


def test_a_sum_that_is_no_number_is_refused(tmp_path):
    path = tmp_path / "stats.csv"
    path.write_text("foreground,background,kind,channel,count,sum,sum_of_squares\n1,1,mask,0,4,x,1\n")
    with pytest.raises(ValueError, match="a sum is not a whole number"):
        read_stats(path)


def test_the_summary_says_what_a_person_asks(arrays, samples, tmp_path):
    measured = {kind: measure_kind(samples, arrays, kind) for kind in PICTURE_KINDS}
    write_summary(tmp_path / "stats.json", summarise(measured))
    text = (tmp_path / "stats.json").read_text()
    facts = json.loads(text)
    assert [facts[kind]["images"] for kind in PICTURE_KINDS] == [3, 24, 24, 24]
    assert (facts["mask"]["minimum"], facts["mask"]["maximum"]) == (0, 1)
    assert sum(facts["composite"]["histogram"]) == 24 * 32 * 32 * 3
    depths = arrays.depth.take(samples["depth_row"].to_numpy())
    assert facts["depth"]["median"] == np.quantile(depths, 0.5, method="inverted_cdf") / 255
    assert len(text.splitlines()) == 42  # one line per fact: a histogram does not bury the others
