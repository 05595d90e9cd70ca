"""Proves the laws that every metric of the catalogue keeps: a new entry is tested here without a test of its own."""

from typing import get_args

import pytest
import torch
from support.cases import random_case, scores, worked_case

from maskdepth.losses.students import (
    SAJNANSHETTY_DEPTH_MEAN,
    SAJNANSHETTY_DEPTH_STD,
    SAJNANSHETTY_MASK_MEAN,
    SAJNANSHETTY_MASK_STD,
)
from maskdepth.metrics.catalogue import GROUPS, Maps, image_metrics
from maskdepth.metrics.names import HEADLINE, METRICS, QUICK_METRICS, Better
from maskdepth.models.prediction import Prediction

# Not 0 or 1 where all is right, or not for the truth at all.
BEST = {"depth_psnr": 100.0, "mshilpaa_iou": 0.5}
AIMED_AT = [name for name, better in METRICS.items() if better != "neither"]


@pytest.fixture(scope="module")
def measured():
    return image_metrics(*random_case(), threshold=0.4)


def test_each_group_gives_the_metrics_that_it_names():
    (prediction, mask, depth) = random_case()
    maps = Maps(prediction.mask_logits.sigmoid(), mask, prediction.depth, depth, 0.4)
    for group in GROUPS:
        assert group.measure(maps).keys() == group.better.keys()


def test_which_way_is_better_is_one_of_three_words():
    assert set(METRICS.values()) == set(get_args(Better)) == {"high", "low", "neither"}
    assert {*QUICK_METRICS, *HEADLINE} <= METRICS.keys()


def test_what_lies_at_a_threshold_is_no_object():
    half, ramp = torch.full((1, 1, 16, 16), 0.5), torch.linspace(0, 1, 256).view(1, 1, 16, 16)
    zeros, left = torch.zeros_like(half), torch.zeros_like(half)
    left[..., :8] = 0.5
    measured = image_metrics(Prediction(torch.zeros_like(half), zeros), half, ramp, 0.5)
    assert (measured["mask_union"].item(), measured["mask_boundary_iou"].item()) == (0, 1)
    measured = image_metrics(Prediction(scores(zeros), zeros), left, ramp, 0.5)
    assert measured["depth_mae_foreground"].item() == pytest.approx(0.5)
    # The students' bounds are those of raw maps.
    bounds = (
        SAJNANSHETTY_MASK_MEAN + 0.5 * SAJNANSHETTY_MASK_STD,
        SAJNANSHETTY_DEPTH_MEAN + 0.5 * SAJNANSHETTY_DEPTH_STD,
    )
    mask, depth = (torch.full_like(half, bound, dtype=torch.float64) for bound in bounds)
    for truth in ((zeros, zeros), (mask, depth)):
        measured = image_metrics(Prediction(torch.zeros_like(half), half), *truth, 0.5)
        assert (measured["sajnanshetty_mask_iou"].item(), measured["sajnanshetty_depth_iou"].item()) == (1, 1)


def test_shares_and_the_students_scores_worked_by_hand():
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 0, 0] = 1
    measured = image_metrics(Prediction(scores(mask), mask), mask, mask, 0.5)
    assert measured["mask_area"].item() == 1 / 256
    assert measured["deepjyotisaha85_mask_dice"].item() == pytest.approx(1)
    assert measured["mshilpaa_iou"].item() == pytest.approx(1 / (2 + 1e-4), rel=1e-9)
    empty = torch.zeros_like(mask)
    measured = image_metrics(Prediction(scores(empty), empty), empty, empty, 0.5)
    assert measured["deepjyotisaha85_mask_dice"].item() == measured["deepjyotisaha85_depth_dice"].item() == 1


@pytest.mark.parametrize("names", [QUICK_METRICS, HEADLINE, ("mask_iou",), ()])
def test_a_choice_is_what_all_would_give(measured, names):
    chosen = image_metrics(*random_case(), 0.4, names)
    assert tuple(chosen) == names
    torch.testing.assert_close(chosen, {name: measured[name] for name in names}, atol=0, rtol=0)


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_one_float64_per_image_of_any_precision(name):
    prediction, mask, depth = random_case()
    half = Prediction(prediction.mask_logits.bfloat16(), prediction.depth.bfloat16())
    (value,) = image_metrics(half, mask.float(), depth.float(), 0.5, [name]).values()
    assert (value.shape, value.dtype) == ((6,), torch.float64)


@pytest.mark.parametrize("name", METRICS)
def test_batches_leave_no_trace(measured, name):
    prediction, mask, depth = random_case()
    alone = [
        image_metrics(Prediction(*(maps[i : i + 1] for maps in prediction)), mask[i : i + 1], depth[i : i + 1], 0.4)
        for i in range(len(mask))
    ]
    torch.testing.assert_close(torch.cat([each[name] for each in alone]), measured[name], atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("name", AIMED_AT)
def test_the_truth_scores_best(measured, name):
    _, mask, depth = random_case()
    best = image_metrics(Prediction(scores(mask), depth), mask, depth, 0.5, [name])[name]
    wanted = BEST.get(name, 1.0 if METRICS[name] == "high" else 0.0)
    torch.testing.assert_close(best, torch.full((6,), wanted).double(), atol=1e-10, rtol=0)
    assert (measured[name] <= wanted if METRICS[name] == "high" else measured[name] >= wanted).all()


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("flat", [0.0, 0.5, 1.0])
def test_flat_maps_have_finite_scores(name, flat):
    maps = torch.full((1, 1, 16, 16), flat).double()
    for truth in (torch.zeros_like(maps), torch.ones_like(maps)):
        assert image_metrics(Prediction(scores(maps), maps), truth, truth, 0.5, [name])[name].isfinite().all()


@pytest.mark.parametrize("name", ["depth_ssi_mae", "depth_ssi_abs_rel"])
def test_an_estimate_that_takes_near_for_far_is_not_taken_for_right(name):
    prediction, mask, depth = worked_case()
    inverted, flat = (
        image_metrics(Prediction(prediction.mask_logits, estimate), mask, depth, 0.5, [name])[name]
        for estimate in (1 - depth, torch.full_like(depth, 0.5))
    )
    torch.testing.assert_close(inverted, flat)
