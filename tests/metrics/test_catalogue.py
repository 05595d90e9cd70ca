"""Proves the laws that every metric of the catalogue keeps: a new entry is tested here without a test of its own."""

import pytest
import torch
from support.cases import random_case, scores, worked_case

from maskdepth.metrics.catalogue import GROUPS, HEADLINE, METRICS, QUICK_METRICS, Maps, image_metrics
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
