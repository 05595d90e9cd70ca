"""Evaluation of samples: one pass gives the same as many, and the loss is that of the samples."""

import re
from pathlib import Path

import pandas as pd
import pytest
import torch
from support.batches import cut, square_batch

from maskdepth.data.batches.batches import Batch
from maskdepth.evaluation.samples import MeanLoss, Predicted, choose_threshold, evaluate_samples, predictions
from maskdepth.losses.catalogue import build_criterion
from maskdepth.metrics.names import HEADLINE
from maskdepth.models.prediction import Prediction
from maskdepth.params import LossParams

CRITERION = build_criterion(LossParams(mask="bce+dice", depth="l1+ssim", mask_weight=1.0, depth_weight=1.0))


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

    assert len(evaluate_samples(predict_many(), 0.5)) == 60 * 64
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
    measured = evaluate_samples(perfect(square_batch()), 0.5)
    assert measured["mask_iou"].tolist() == [1, 1, 1]
    assert measured["depth_ssim"].to_numpy() == pytest.approx(1)
    assert measured["mask_area"].iloc[0] == 144 / 1024


def test_a_metric_that_is_not_finite_names_the_sample():
    (right,) = perfect(square_batch())
    depth = right.depth.clone()
    depth[1] = torch.nan
    with pytest.raises(FloatingPointError, match=r"depth_.* of sample number 1 is nan"):
        evaluate_samples([right._replace(prediction=Prediction(right.mask, depth))], 0.5)


def test_neither_metrics_nor_their_choice_depend_on_the_batches():
    batch = square_batch(4)
    whole = evaluate_samples(predictions(guess, [batch]), 0.5)
    parts = evaluate_samples(predictions(guess, cut(batch, 1)), 0.5)
    pd.testing.assert_frame_equal(whole, parts, rtol=1e-12)
    few = evaluate_samples(predictions(guess, [batch]), 0.5, HEADLINE)
    assert tuple(few) == HEADLINE
    pd.testing.assert_frame_equal(few, whole[list(few)], check_exact=True)


def test_the_loss_is_that_of_what_passed_by_and_changes_nothing():
    batches = cut(square_batch(5), 2)  # 2, 2 and 1 samples
    loss = MeanLoss(CRITERION)
    watched = evaluate_samples(loss.watch(predictions(guess, batches)), 0.5)
    pd.testing.assert_frame_equal(watched, evaluate_samples(predictions(guess, batches), 0.5), check_exact=True)
    means = [CRITERION(guess(*batch.inputs()), *batch.targets())["loss"].item() for batch in batches]
    assert loss.value == pytest.approx((2 * means[0] + 2 * means[1] + means[2]) / 5, rel=1e-6)


def test_the_threshold_that_suits_the_model_is_chosen():
    (right,) = perfect(square_batch())
    # Everything outside the square is given 0.7: only thresholds from 0.7 on tell it from the square's 0.9.
    logits = torch.where(right.mask > 0, 0.9, 0.7).logit()
    assert 0.7 <= choose_threshold([right._replace(prediction=Prediction(logits, right.depth))]) < 0.9
