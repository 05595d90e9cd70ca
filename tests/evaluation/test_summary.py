"""Summary: intervals cover groups, cells and sizes are what they say, different backgrounds are shown first."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskdepth.evaluation.summary import (
    assign_cells,
    assign_sizes,
    headline_numbers,
    intervals,
    pick_samples,
    pooled_iou,
    summarise,
)
from maskdepth.metrics.catalogue import HEADLINE


def table(num_backgrounds: int, num_foregrounds: int, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    pairs = [(b, f) for b in range(num_backgrounds) for f in range(num_foregrounds)]
    samples = pd.DataFrame(pairs, columns=["background", "foreground"])
    for metric in HEADLINE:
        samples[metric] = random.random(len(samples))
    return samples.assign(split="test", cell="unseen_background_seen_object", size="small")


def test_a_constant_metric_has_an_interval_without_width():
    samples = table(5, 4).assign(mask_iou=0.25)
    row = intervals(samples, ["mask_iou"], 200, seed=0).loc["mask_iou"]
    assert row.tolist() == pytest.approx([0.25, 0.25, 0.25])


def test_an_error_shared_by_a_background_widens_the_interval():
    samples = table(10, 50)
    samples["mask_iou"] = samples["background"] / 10
    shuffled = samples.assign(mask_iou=np.random.default_rng(0).permutation(samples["mask_iou"]))
    width = {
        name: np.ptp(intervals(part, ["mask_iou"], 1000, 0).loc["mask_iou", ["low", "high"]])
        for name, part in {"shared": samples, "own": shuffled}.items()
    }
    assert width["shared"] > 3 * width["own"]


def test_the_interval_of_independent_groups_agrees_with_the_normal_one():
    values = np.random.default_rng(1).normal(size=400)
    samples = pd.DataFrame({"background": np.arange(400), "foreground": 0, "mask_iou": values})
    row = intervals(samples, ["mask_iou"], 4000, seed=2).loc["mask_iou"]
    expected = 2 * 1.96 * values.std() / 20
    assert row["high"] - row["low"] == pytest.approx(expected, rel=0.08)


@given(seed=st.integers(0, 1000), backgrounds=st.integers(1, 6), foregrounds=st.integers(1, 6))
def test_intervals_hold_the_range_of_the_values(seed, backgrounds, foregrounds):
    samples = table(backgrounds, foregrounds, seed)
    row = intervals(samples, ["depth_ssim"], 100, seed).loc["depth_ssim"]
    assert samples["depth_ssim"].min() - 1e-9 <= row["low"] <= row["high"] <= samples["depth_ssim"].max() + 1e-9


def test_intervals_repeat_with_their_seed():
    samples = table(6, 6)
    pd.testing.assert_frame_equal(intervals(samples, ["mask_iou"], 100, 3), intervals(samples, ["mask_iou"], 100, 3))


def test_the_summary_holds_test_baseline_cells_and_sizes():
    trained = pd.concat([table(5, 4), table(5, 4, 1).assign(split="mixed", cell="seen_background_unseen_object")])
    numbers = headline_numbers(summarise(trained, table(5, 4, 2), 100, 0))
    test = trained[trained["split"] == "test"]
    assert numbers["mask_iou"] == pytest.approx(test["mask_iou"].mean())
    assert numbers["mask_iou_low"] < numbers["mask_iou"] < numbers["mask_iou_high"]
    assert numbers["diff_mask_iou"] == pytest.approx(table(5, 4, 2)["mask_iou"].mean())
    assert "mean_map_depth_ssim" in numbers
    mixed = trained[trained["cell"] == "seen_background_unseen_object"]
    assert numbers["seen_background_unseen_object_depth_ssim"] == pytest.approx(mixed["depth_ssim"].mean())
    assert numbers["small_mask_iou"] == pytest.approx(test["mask_iou"].mean())


def test_pooled_iou_counts_pixels_and_the_mean_counts_samples():
    samples = pd.DataFrame({"mask_intersection": [90, 0], "mask_union": [100, 10]})
    assert pooled_iou(samples) == 90 / 110


def test_cells_say_what_training_saw():
    train = pd.DataFrame({"background": [1], "foreground": [1]})
    held_out = pd.DataFrame({"background": [1, 1, 2, 2], "foreground": [1, 2, 1, 2]})
    assert len(set(assign_cells(held_out, train))) == 4


@pytest.mark.parametrize(
    ("areas", "sizes"),
    [([0.5], ["small"]), ([0.5, 0.1], ["large", "small"]), ([0.2] * 3, ["small", "medium", "large"])],
)
def test_sizes_of_a_few_samples_are_as_many_as_there_are(areas, sizes):
    assert assign_sizes(pd.Series(areas)).tolist() == sizes


def test_sizes_are_terciles():
    sizes = assign_sizes(pd.Series(np.linspace(0.3, 0.01, 9)))
    assert sizes.tolist() == ["large"] * 3 + ["medium"] * 3 + ["small"] * 3


def test_few_samples_are_picked_once_each():
    picked = pick_samples(pd.Series([0.2, 0.4, 0.9]), pd.Series([1, 1, 1]), 5)
    assert picked == {"best": [2, 1, 0], "median": [1, 0, 2], "worst": [0, 1, 2]}


def test_pictures_show_different_backgrounds_first():
    scores, backgrounds = pd.Series([0.9, 0.8, 0.7, 0.1]), pd.Series(["a", "a", "b", "b"])
    assert pick_samples(scores, backgrounds, 2) == {"best": [0, 2], "median": [1, 2], "worst": [3, 1]}
