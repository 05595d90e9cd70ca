"""Evaluation: one pass gives the same as many, the baseline finds what differs, the loss is that of the samples."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import ndimage

from maskdepth.data.batches.batches import Batch
from maskdepth.evaluation.baseline import baseline, clean_masks, mean_depth_map
from maskdepth.evaluation.samples import MeanLoss, Predicted, choose_threshold, evaluate_samples, predictions
from maskdepth.losses.catalogue import build_criterion
from maskdepth.metrics.catalogue import HEADLINE
from maskdepth.models.prediction import Prediction
from maskdepth.params import LossParams

CRITERION = build_criterion(LossParams(mask="bce+dice", depth="l1+ssim", mask_weight=1.0, depth_weight=1.0))


def square_batch(num_samples: int = 3, size: int = 32) -> Batch:
    """A bright square on a dark, noisy ground; depth is a ramp with the square nearer."""
    random = torch.Generator().manual_seed(0)
    background = torch.randint(0, 10, (num_samples, 3, size, size), generator=random, dtype=torch.uint8)
    mask = torch.zeros(num_samples, 1, size, size, dtype=torch.uint8)
    for sample in range(num_samples):
        mask[sample, 0, 8 + sample : 20, 8:20] = 1
    composite = torch.where(mask > 0, 230, background).byte()
    ramp = torch.linspace(255, 0, size).view(1, 1, size, 1).expand(num_samples, 1, size, size)
    depth = torch.where(mask > 0, ramp / 2, ramp).byte()
    return Batch(background, composite, mask, depth, [str(sample) for sample in range(num_samples)])


def cut(batch: Batch, size: int) -> list[Batch]:
    return [Batch(*(part[i : i + size] for part in batch)) for i in range(0, len(batch.mask), size)]


def perfect(batch: Batch) -> list[Predicted]:
    mask, depth = batch.targets()
    return [Predicted(Prediction(mask * 40 - 20, depth), mask, depth)]


def guess(background: torch.Tensor, composite: torch.Tensor) -> Prediction:
    """Something of each picture, neither right nor quite wrong."""
    return Prediction(8 * (composite - background).mean(1, keepdim=True) - 2, composite.mean(1, keepdim=True))


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is told by Linux alone")
def test_memory_does_not_grow_with_the_number_of_samples():
    used = []

    def predict_many():
        for number in range(60):
            if number >= 20:
                used.append(int(re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())[1]))
            truth = torch.rand(64, 1, 64, 64)
            yield Predicted(Prediction(torch.randn(64, 1, 64, 64), torch.rand(64, 1, 64, 64)), truth.round(), truth)

    assert len(evaluate_samples(predict_many(), 0.5, 0.4)) == 60 * 64
    assert used[-1] - used[0] < 100_000  # kB; each batch would leave 10 MB behind


def test_predictions_stand_beside_what_is_true():
    batch = square_batch()
    (one, two) = predictions(guess, cut(batch, 2))
    assert (len(one.mask), len(two.mask)) == (2, 1)
    mask, depth = batch.targets()
    assert torch.equal(torch.cat([one.mask, two.mask]), mask)
    assert torch.equal(torch.cat([one.depth, two.depth]), depth)
    assert torch.equal(one.prediction.depth, guess(*batch.inputs()).depth[:2])


def test_a_perfect_prediction_scores_one():
    measured = evaluate_samples(perfect(square_batch()), 0.5, 0.5)
    assert measured["mask_iou"].tolist() == [1, 1, 1] == measured["mask_iou_tuned"].tolist()
    assert measured["depth_ssim"].to_numpy() == pytest.approx(1)
    assert measured["mask_area"].iloc[0] == 144 / 1024


def test_a_metric_that_is_not_finite_names_the_sample():
    (right,) = perfect(square_batch())
    depth = right.depth.clone()
    depth[1] = torch.nan
    with pytest.raises(FloatingPointError, match=r"depth_.* of sample number 1 is nan"):
        evaluate_samples([right._replace(prediction=Prediction(right.mask, depth))], 0.5, 0.5)


def test_neither_metrics_nor_their_choice_depend_on_the_batches():
    batch = square_batch(4)
    whole = evaluate_samples(predictions(guess, [batch]), 0.5, 0.3)
    parts = evaluate_samples(predictions(guess, cut(batch, 1)), 0.5, 0.3)
    pd.testing.assert_frame_equal(whole, parts, rtol=1e-12)
    few = evaluate_samples(predictions(guess, [batch]), 0.5, 0.3, HEADLINE)
    assert set(few) == {*HEADLINE, "mask_area", "mask_iou_tuned"}
    pd.testing.assert_frame_equal(few, whole[list(few)], check_exact=True)


def test_the_loss_is_that_of_what_passed_by_and_changes_nothing():
    batches = cut(square_batch(5), 2)  # 2, 2 and 1 samples
    loss = MeanLoss(CRITERION)
    watched = evaluate_samples(loss.watch(predictions(guess, batches)), 0.5, 0.5)
    pd.testing.assert_frame_equal(watched, evaluate_samples(predictions(guess, batches), 0.5, 0.5), check_exact=True)
    means = [CRITERION(guess(*batch.inputs()), *batch.targets())["loss"].item() for batch in batches]
    assert loss.value == pytest.approx((2 * means[0] + 2 * means[1] + means[2]) / 5, rel=1e-6)


def test_the_baseline_finds_what_differs_and_predicts_the_mean_depth():
    batch = square_batch()
    mean_map = mean_depth_map([batch])
    torch.testing.assert_close(mean_map, batch.targets()[1].mean(0, keepdim=True))
    prediction = baseline(mean_map)(*batch.inputs())
    assert ((prediction.mask_logits > 0) == batch.mask.bool()).all()
    assert (prediction.depth == mean_map).all()


def test_the_mean_depth_map_does_not_depend_on_the_batches():
    batch = square_batch(4)
    torch.testing.assert_close(mean_depth_map([batch]), mean_depth_map(cut(batch, 1)))


def test_cleaning_fills_holes_and_keeps_the_largest_region():
    raw = np.zeros((1, 16, 16), bool)
    raw[0, 4:12, 4:12] = True
    raw[0, 7:9, 7:9] = False  # a hole
    raw[0, 0, 0] = True  # a speck
    clean = clean_masks(raw)
    assert clean[0, 4:12, 4:12].all()
    assert clean.sum() == 64


def test_cleaning_nothing_gives_nothing():
    assert not clean_masks(np.zeros((2, 8, 8), bool)).any()


def clean_one(raw: np.ndarray) -> np.ndarray:
    """Clean a single mask step by step."""
    closed = ndimage.binary_closing(np.pad(raw, 1), structure=np.ones((3, 3)))[1:-1, 1:-1] | raw
    regions, _ = ndimage.label(ndimage.binary_fill_holes(closed))
    sizes = np.bincount(regions.ravel())
    sizes[0] = 0
    return (regions == sizes.argmax()) & (regions > 0)


@pytest.mark.parametrize("share", [0.05, 0.4, 0.6, 0.9])
def test_masks_are_cleaned_as_if_each_were_alone(share):
    random = np.random.default_rng(0)
    raw = ndimage.gaussian_filter(random.random((40, 14, 11)), (0, 1, 1))
    raw = raw < np.quantile(raw, share)
    raw[3], raw[4] = False, True
    np.testing.assert_array_equal(clean_masks(raw), np.stack([clean_one(mask) for mask in raw]))


def test_the_threshold_that_suits_the_model_is_chosen():
    (right,) = perfect(square_batch())
    # Everything outside the square is given 0.7: only thresholds from 0.7 on tell it from the square's 0.9.
    logits = torch.where(right.mask > 0, 0.9, 0.7).logit()
    assert 0.7 <= choose_threshold([right._replace(prediction=Prediction(logits, right.depth))]) < 0.9
