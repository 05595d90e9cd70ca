"""Evaluation: the baseline finds what differs, intervals cover groups, cells and picks are what they say."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskdepth.data.batches import Batch
from maskdepth.evaluation import (
    HEADLINE,
    assign_cells,
    assign_sizes,
    baseline,
    choose_threshold,
    clean_mask,
    evaluate_samples,
    headline_numbers,
    intervals,
    mean_depth_map,
    pick_samples,
    pooled_iou,
    summarise,
)
from maskdepth.models.prediction import Prediction


def square_batch(num_samples: int = 3, size: int = 32) -> Batch:
    """A bright square on a dark, noisy ground; depth is a ramp with the square nearer."""
    random = torch.Generator().manual_seed(0)
    background = torch.rand((num_samples, 3, size, size), generator=random) * 0.04
    mask = torch.zeros(num_samples, 1, size, size)
    for sample in range(num_samples):
        mask[sample, 0, 8 + sample : 20, 8:20] = 1
    composite = background * (1 - mask) + 0.9 * mask
    depth = torch.linspace(1, 0, size).view(1, 1, size, 1).expand(num_samples, 1, size, size) * (1 - 0.5 * mask)
    return Batch(
        background=background,
        composite=composite,
        mask=mask,
        depth=depth,
        sample_ids=[str(i) for i in range(num_samples)],
    )


def perfect(batch: Batch):
    return lambda background, composite: Prediction(batch.mask * 40 - 20, batch.depth)


def table(num_backgrounds: int, num_foregrounds: int, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    pairs = [(b, f) for b in range(num_backgrounds) for f in range(num_foregrounds)]
    samples = pd.DataFrame(pairs, columns=["background", "foreground"])
    for metric in HEADLINE:
        samples[metric] = random.random(len(samples))
    return samples.assign(split="test", cell="unseen_background_seen_object", size="small")


def test_a_perfect_prediction_scores_one():
    batch = square_batch()
    measured = evaluate_samples(perfect(batch), [batch], 0.5, 0.5)
    assert measured["mask_iou"].tolist() == [1, 1, 1] == measured["mask_iou_tuned"].tolist()
    assert measured["depth_ssim"].to_numpy() == pytest.approx(1)
    assert measured["mask_area"].iloc[0] == 144 / 1024


def test_a_metric_that_is_not_finite_names_the_sample():
    batch = square_batch()
    depth = batch.depth.clone()
    depth[1] = torch.nan
    with pytest.raises(FloatingPointError, match=r"depth_.* of sample number 1 is nan"):
        evaluate_samples(lambda *_: Prediction(batch.mask, depth), [batch], 0.5, 0.5)


def test_the_baseline_finds_what_differs_and_predicts_the_mean_depth():
    batch = square_batch()
    mean_map = mean_depth_map([batch])
    torch.testing.assert_close(mean_map, batch.depth.mean(0, keepdim=True))
    prediction = baseline(mean_map)(batch.background, batch.composite)
    assert ((prediction.mask_logits > 0) == batch.mask.bool()).all()
    assert (prediction.depth == mean_map).all()


def test_the_mean_depth_map_does_not_depend_on_the_batches():
    batch = square_batch(4)
    one_by_one = [Batch(*(part[i : i + 1] for part in batch)) for i in range(4)]
    torch.testing.assert_close(mean_depth_map([batch]), mean_depth_map(one_by_one))


def test_cleaning_fills_holes_and_keeps_the_largest_region():
    raw = np.zeros((16, 16), bool)
    raw[4:12, 4:12] = True
    raw[7:9, 7:9] = False  # a hole
    raw[0, 0] = True  # a speck
    clean = clean_mask(raw)
    assert clean[4:12, 4:12].all()
    assert clean.sum() == 64


def test_cleaning_nothing_gives_nothing():
    assert not clean_mask(np.zeros((8, 8), bool)).any()


def test_the_threshold_that_suits_the_model_is_chosen():
    batch = square_batch()
    # Everything outside the square is given 0.7: only thresholds from 0.7 on tell it from the square's 0.9.
    logits = torch.where(batch.mask > 0, 0.9, 0.7).logit()
    assert 0.7 <= choose_threshold(lambda *_: Prediction(logits, batch.depth), [batch]) < 0.9


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


def test_sizes_are_terciles():
    sizes = assign_sizes(pd.Series(np.linspace(0.3, 0.01, 9)))
    assert sizes.tolist() == ["large"] * 3 + ["medium"] * 3 + ["small"] * 3


def test_few_samples_are_picked_once_each():
    picked = pick_samples(pd.Series([0.2, 0.4, 0.9]), pd.Series([1, 1, 1]), 5)
    assert picked == {"best": [2, 1, 0], "median": [1, 0, 2], "worst": [0, 1, 2]}


def test_pictures_show_different_backgrounds_first():
    scores, backgrounds = pd.Series([0.9, 0.8, 0.7, 0.1]), pd.Series(["a", "a", "b", "b"])
    assert pick_samples(scores, backgrounds, 2) == {"best": [0, 2], "median": [1, 2], "worst": [3, 1]}
