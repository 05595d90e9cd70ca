"""Moments from the table are exactly those of the pixels, for the whole data set and for any part of it."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskdepth.data import stats as stats_module
from maskdepth.data.arrays.arrays import ShardedArray
from maskdepth.data.index.joining import build_index
from maskdepth.data.pictures.decoding import BACKGROUND_DEPTH, PICTURE_KINDS
from maskdepth.data.stats import (
    Moments,
    list_kinds,
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


def test_sums_are_those_of_each_group_and_channel_in_the_order_of_their_names(arrays):
    pictures = np.arange(3 * 1 * 2 * 3, dtype=np.uint8).reshape(3, 1, 2, 3)
    samples = pd.DataFrame({"foreground": [2, 1, 2], "background": [7, 7, 7], "composite_row": [2, 1, 0]})
    measured = measure_kind(samples, replace(arrays, composite=ShardedArray([pictures])), "composite")
    by_group = {"1": pictures[[1]].astype(int), "2": pictures[[0, 2]].astype(int)}
    assert list(measured.table) == ["foreground", "background", "kind", "channel", "count", "sum", "sum_of_squares"]
    assert measured.table.to_numpy().tolist() == [
        [name, "7", "composite", channel, 2 * len(group), group[..., channel].sum(), (group[..., channel] ** 2).sum()]
        for name, group in by_group.items()
        for channel in range(3)
    ]
    assert measured.histogram.tolist() == [1] * 18 + [0] * 238
    assert (measured.images, measured.black) == (3, 0)


def test_pictures_are_black_where_every_pixel_is(arrays):
    measured = measure_depths(arrays, [[[0, 0]], [[0, 1]]])
    assert (measured.images, measured.black) == (2, 1)
    assert measure_depths(arrays, [[[0, 0]], [[0, 0]]]).black == 2
    assert measure_depths(arrays, [[[0, 0], [0, 0]], [[0, 0], [0, 1]]]).black == 1


def test_black_pictures_are_counted_in_every_group(arrays):
    pictures = np.array([[[0, 0]], [[0, 1]], [[0, 0]], [[1, 1]]], np.uint8)
    samples = pd.DataFrame({"foreground": [1, 1, 2, 2], "background": 5, "depth_row": range(4)})
    assert measure_kind(samples, replace(arrays, depth=ShardedArray([pictures])), "depth").black == 2


def test_a_nearly_black_picture_in_colours_is_no_mask(arrays):
    pictures = np.array([[[[0, 1, 1], [0, 0, 1]]]], np.uint8)
    samples = pd.DataFrame({"foreground": [1], "background": [5], "composite_row": [0]})
    measured = measure_kind(samples, replace(arrays, composite=ShardedArray([pictures])), "composite")
    assert measured.table["sum"].tolist() == [0, 1, 2]
    assert measured.histogram[:2].tolist() == [3, 3]


def test_pictures_that_do_not_fit_into_one_block_are_measured_alike(arrays, samples, monkeypatch):
    whole = {kind: measure_kind(samples, arrays, kind) for kind in PICTURE_KINDS}
    taken, take = [], ShardedArray.take
    monkeypatch.setattr(ShardedArray, "take", lambda array, rows: taken.append(len(rows)) or take(array, rows))
    monkeypatch.setattr(stats_module, "_BLOCK_VALUES", 5 * 32 * 32)
    for kind in PICTURE_KINDS:
        taken.clear()
        measured = measure_kind(samples, arrays, kind)
        assert measured.table.equals(whole[kind].table)
        assert measured.histogram.tolist() == whole[kind].histogram.tolist()
        assert (measured.images, measured.black) == (whole[kind].images, whole[kind].black)
        assert taken == {"background": [1] * 3, "composite": [1] * 24}.get(kind, [5, 5, 5, 5, 4])
    monkeypatch.setattr(stats_module, "_BLOCK_VALUES", 1)  # smaller than a picture
    assert measure_kind(samples, arrays, "mask").table.equals(whole["mask"].table)


def test_the_depth_of_a_background_counts_once_where_there_is_one(arrays):
    samples = pd.DataFrame({"foreground": [1, 2, 1, 2], "background": [5, 5, 6, 6]})
    samples = samples.assign(background_row=[0, 0, 1, 1], background_depth_row=[0, 0, -1, -1])
    assert list_kinds(samples) == (*PICTURE_KINDS, "background_depth")
    assert list_kinds(samples.tail(2)) == PICTURE_KINDS
    pictures = ShardedArray([np.array([[[51, 51]]], np.uint8)])
    measured = measure_kind(samples, replace(arrays, background_depth=pictures), BACKGROUND_DEPTH)
    assert measured.table.to_numpy().tolist() == [["", "5", "background_depth", 0, 2, 102, 2 * 51**2]]
    assert merge_moments(measured.table) == Moments((0.2,), (0.0,))
    (summary,) = summarise({BACKGROUND_DEPTH: measured}).values()
    assert (summary["minimum"], summary["median"], summary["maximum"]) == (0.2, 0.2, 0.2)


def test_masks_and_maps_of_two_levels_are_counted_alike(arrays):
    # A depth of zeros and ones looks like a mask; both are counted by level, whatever they are.
    measured = measure_depths(arrays, [[[0, 1, 1]], [[1, 1, 2]]])
    assert measured.histogram[:4].tolist() == [1, 4, 1, 0]
    assert measured.histogram.dtype == np.int64
    measured = measure_depths(arrays, [[[0, 1, 1]], [[1, 0, 1]]])
    assert measured.histogram[:4].tolist() == [2, 4, 0, 0]
    assert measured.table[["sum", "sum_of_squares"]].to_numpy().tolist() == [[4, 4]]


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


def test_groups_that_are_cut_are_read_and_the_others_are_not(arrays, samples, stats, monkeypatch):
    one_less = samples.drop(index=samples.index[0])
    read, take = [], ShardedArray.take
    monkeypatch.setattr(ShardedArray, "take", lambda array, rows: read.append(len(rows)) or take(array, rows))
    subset_moments(stats, samples, arrays, one_less)
    cut = samples["foreground"].eq(samples["foreground"].iloc[0]) & samples["background"].eq(
        samples["background"].iloc[0]
    )
    assert read == [cut.sum() - 1] * 3  # composite, mask and depth; no background


def test_an_empty_subset_is_refused(arrays, samples, stats):
    with pytest.raises(ValueError, match=r"^no samples to take the moments of; check the split with split\.csv$"):
        subset_moments(stats, samples, arrays, samples.iloc[:0])


def test_a_table_of_other_samples_is_refused(arrays, samples, stats):
    with pytest.raises(ValueError, match=r"^stats\.csv lacks groups .*; run `dvc repro`, which makes it again$"):
        subset_moments(stats[stats["background"] != "2"], samples, arrays, samples)


def test_a_sum_that_is_no_number_is_refused(tmp_path):
    path = tmp_path / "stats.csv"
    path.write_text("foreground,background,kind,channel,count,sum,sum_of_squares\n1,1,mask,0,4,x,1\n")
    with pytest.raises(ValueError, match=r"stats\.csv is not a whole table: .*invalid value 'x'; run `dvc repro`"):
        read_stats(path)


def test_a_table_comes_back_with_ids_as_text_and_sums_as_integers(tmp_path):
    path = tmp_path / "stats.csv"
    path.write_text("foreground,background,kind,channel,count,sum,sum_of_squares\n01,NA,mask,0,4,3,1\n")
    table = read_stats(path)
    assert table.to_dict("records") == [
        {
            "foreground": "01",
            "background": "NA",
            "kind": "mask",
            "channel": 0,
            "count": 4,
            "sum": 3,
            "sum_of_squares": 1,
        }
    ]
    assert (table.dtypes[["channel", "count", "sum", "sum_of_squares"]] == "int64").all()
    with pytest.raises(ValueError, match="expected foreground,background,kind,channel,count,sum,sum_of_squares"):
        path.write_text("a\n1\n")
        read_stats(path)


def test_the_summary_of_a_kind_worked_by_hand(arrays, tmp_path):
    measured = measure_depths(arrays, [[[0, 51, 51, 51]], [[51, 51, 255, 255]]])
    summary = summarise({"depth": measured})
    mean = (5 * 51 + 2 * 255) / 8 / 255
    std = np.sqrt((5 * 51**2 + 2 * 255**2) / 8 / 255**2 - mean**2)
    assert summary["depth"].pop("std") == pytest.approx([std])
    assert summary["depth"].pop("histogram") == measured.histogram.tolist()
    assert summary == {
        "depth": {"images": 2, "black": 0, "mean": [mean], "minimum": 0.0, "median": 0.2, "maximum": 1.0}
    }
    write_summary(tmp_path / "stats.json", summary | {"mask": {"images": 1}})
    assert (tmp_path / "stats.json").read_text() == (
        f'{{\n  "depth": {{\n    "images": 2,\n    "black": 0,\n    "mean": [{mean}],\n    "minimum": 0.0,\n'
        '    "median": 0.2,\n    "maximum": 1.0\n  },\n  "mask": {\n    "images": 1\n  }\n}\n'
    )


def test_the_median_of_as_many_below_as_above_is_the_lower(arrays):
    assert summarise({"depth": measure_depths(arrays, [[[10, 10]], [[20, 20]]])})["depth"]["median"] == 10 / 255


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
