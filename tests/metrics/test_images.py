"""Proves every metric on worked cases, against independent implementations, and that batches leave no trace in it."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from support.cases import random_case, scores, worked_case
from torchmetrics.functional.classification import binary_f1_score, binary_jaccard_index

from maskdepth.losses.ssim import ssim
from maskdepth.metrics import images
from maskdepth.metrics.catalogue import image_metrics
from maskdepth.metrics.images import boundary_metrics, depth_boundary_metrics, region_metrics
from maskdepth.metrics.names import METRICS
from maskdepth.models.prediction import Prediction


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mask_iou", 0.920000),
        ("mask_dice", 0.958333),
        ("mask_precision", 0.958333),
        ("mask_recall", 0.958333),
        ("mask_mae", 0.011719),
        ("mask_sad", 0.048),
        ("mask_intersection", 24 * 23),
        ("mask_union", 24 * 25),
        ("mask_boundary_iou", 0.600000),
        ("mask_boundary_f", 1.000000),
        ("depth_ssim", 0.759960),
        ("depth_mae", 0.042188),
        ("depth_rmse", 0.117230),
        ("depth_psnr", -20 * math.log10(0.117230)),
        ("depth_abs_rel", 0.082533),
        ("depth_sq_rel", 0.025681),
        ("depth_rmse_log", 0.344310),
        ("depth_log10", 0.054989),
        ("depth_silog", 32.018343),
        ("depth_delta1", 0.859375),
        ("depth_delta2", 0.859375),
        ("depth_delta3", 0.876953),
        ("depth_ssi_mae", 0.068358),
        ("depth_ssi_abs_rel", 0.220788),
        ("depth_boundary_f_1px", 0.0),  # one pixel beside the true edge
        ("depth_mae_foreground", 0.3),
        ("depth_mae_background", 0.0),
    ],
)
def test_metrics_of_the_worked_case(name, value):
    # Recorded from independent NumPy, SciPy and scikit-image code.
    assert image_metrics(*worked_case(), threshold=0.5)[name].item() == pytest.approx(value, abs=1e-6, rel=5e-6)


def test_boundaries_of_the_worked_case_at_their_narrowest(monkeypatch):
    monkeypatch.setattr(images, "BOUNDARY_BAND", 0.01)  # one pixel of 64
    monkeypatch.setattr(images, "BOUNDARY_TOLERANCE", 0.0)
    found = image_metrics(*worked_case(), threshold=0.5)
    assert found["mask_boundary_iou"].item() == pytest.approx(1 / 3)
    assert found["mask_boundary_f"].item() == pytest.approx(0.5)


@pytest.mark.parametrize("threshold", [0.3, 0.5])
def test_overlap_equals_torchmetrics(threshold):
    prediction, mask, depth = random_case()
    found = image_metrics(prediction, mask, depth, threshold)
    prob = prediction.mask_logits.sigmoid()
    for index in range(2, 6):  # the first two are empty, where torchmetrics has another convention
        truth = mask[index].long()
        iou = binary_jaccard_index(prob[index], truth, threshold=threshold).item()
        assert found["mask_iou"][index].item() == pytest.approx(iou, abs=1e-6)
        f1 = binary_f1_score(prob[index], truth, threshold=threshold).item()
        assert found["mask_dice"][index].item() == pytest.approx(f1, abs=1e-6)


def test_pooled_iou_is_the_ratio_of_the_summed_counts():
    prediction, mask, depth = random_case()
    found = image_metrics(prediction, mask, depth, threshold=0.5)
    pooled = binary_jaccard_index(prediction.mask_logits.sigmoid(), mask.long()).item()
    ratio = found["mask_intersection"].sum() / found["mask_union"].sum()
    assert ratio.item() == pytest.approx(pooled, abs=1e-6)


@pytest.mark.parametrize(
    ("pred_is_empty", "truth_is_empty", "score"), [(True, True, 1.0), (True, False, 0.0), (False, True, 0.0)]
)
def test_empty_masks_follow_the_convention(pred_is_empty, truth_is_empty, score):
    _, box, depth = worked_case()
    pred, truth = box * (not pred_is_empty), box * (not truth_is_empty)
    found = image_metrics(Prediction(scores(pred), depth), truth, depth, threshold=0.5)
    for name in (name for name, better in METRICS.items() if better == "high"):
        if name.startswith("mask"):
            assert found[name].item() == score, name


def test_full_masks_have_the_image_border_for_an_edge():
    full = torch.ones(1, 1, 64, 64, dtype=torch.bool)
    inner = full.clone()
    inner[..., 0, :] = False
    found = boundary_metrics(full, full)
    assert found["mask_boundary_iou"].item() == found["mask_boundary_f"].item() == 1
    assert 0 < boundary_metrics(inner, full)["mask_boundary_iou"].item() < 1


@pytest.mark.parametrize(("size", "band", "tolerance"), [(64, 2, 1), (128, 4, 2), (224, 6, 3)])
def test_boundaries_equal_scipy(size, band, tolerance):
    prediction, mask, _ = random_case(count=3, height=size, width=size)
    pred, truth = prediction.mask_logits > 0, mask > 0.5
    pred[2] = truth[2].roll((1, 2), (-1, -2))
    found = boundary_metrics(pred, truth)
    square = np.ones((3, 3))
    reach = np.arange(-tolerance, tolerance + 1)
    disk = reach**2 + reach[:, None] ** 2 <= tolerance**2
    p, t = pred[2, 0].numpy(), truth[2, 0].numpy()
    band_p, band_t = (m & ~ndimage.binary_erosion(m, square, iterations=band) for m in (p, t))
    assert found["mask_boundary_iou"][2].item() == pytest.approx((band_p & band_t).sum() / (band_p | band_t).sum())
    edge_p, edge_t = (m & ~ndimage.binary_erosion(m, square) for m in (p, t))
    precision = (edge_p & ndimage.binary_dilation(edge_t, disk)).sum() / edge_p.sum()
    recall = (edge_t & ndimage.binary_dilation(edge_p, disk)).sum() / edge_t.sum()
    f_score = 2 * precision * recall / (precision + recall)
    assert found["mask_boundary_f"][2].item() == pytest.approx(f_score)


def test_boundary_f_of_contours_far_apart_is_zero():
    near, far = torch.zeros(2, 1, 1, 64, 64, dtype=torch.bool)
    near[..., 5:15, 5:15], far[..., 40:50, 40:50] = True, True
    assert boundary_metrics(near, far)["mask_boundary_f"].item() == 0


@pytest.mark.parametrize("radius", [1, 2, 3])
def test_depth_boundaries_equal_a_plain_loop_over_pairs_of_pixels(radius):
    prediction, mask, depth = random_case(count=2, height=12, width=15)
    found = image_metrics(prediction, mask, depth, 0.5, [f"depth_boundary_f_{radius}px"])
    rows, columns = (axis.ravel() for axis in np.mgrid[:12, :15])
    is_near = np.hypot(rows[:, None] - rows, columns[:, None] - columns) <= radius
    steps = np.linspace(*images.CONTOUR_STEPS)
    for index, (pred, true) in enumerate(zip(prediction.depth.numpy(), depth.numpy(), strict=True)):
        jumps = [(values.ravel()[:, None] - values.ravel())[is_near] for values in (pred, true)]
        scored = []
        for step in steps:
            deeper, truly_deeper = (each > step for each in jumps)
            count = deeper.sum() + truly_deeper.sum()
            scored.append(2 * (deeper & truly_deeper).sum() / count if count else 1.0)
        (value,) = found.values()
        assert value[index].item() == pytest.approx(np.average(scored, weights=steps))
        assert 0 < value[index] < 1


def test_a_blurred_step_of_depth_is_no_contour():
    step = torch.zeros(1, 1, 16, 16, dtype=torch.float64)
    step[..., 8:] = 0.8
    ramp = torch.linspace(0, 0.8, 16, dtype=torch.float64).expand(1, 1, 16, 16)
    assert depth_boundary_metrics(step, step)["depth_boundary_f_1px"].item() == 1
    assert depth_boundary_metrics(ramp, step)["depth_boundary_f_1px"].item() < 0.1
    assert depth_boundary_metrics(step.flip(-1), step)["depth_boundary_f_3px"].item() == 0  # the other side is nearer


def test_depth_metrics_equal_a_plain_loop():
    prediction, mask, depth = random_case()
    found = image_metrics(prediction, mask, depth, threshold=0.5)
    for index, (pred, true) in enumerate(zip(prediction.depth.numpy(), depth.numpy(), strict=True)):
        p, t = np.maximum(pred, 0.01), np.maximum(true, 0.01)
        gap, ratio = np.log(p / t), np.maximum(p / t, t / p)
        expected = {
            "depth_mae": np.abs(pred - true).mean(),
            "depth_rmse": np.sqrt(((pred - true) ** 2).mean()),
            "depth_abs_rel": (np.abs(p - t) / t).mean(),
            "depth_sq_rel": ((p - t) ** 2 / t).mean(),
            "depth_rmse_log": np.sqrt((gap**2).mean()),
            "depth_log10": np.abs(np.log10(p) - np.log10(t)).mean(),
            "depth_silog": 100 * np.sqrt((gap**2).mean() - gap.mean() ** 2),
            **{f"depth_delta{k}": (ratio < 1.25**k).mean() for k in (1, 2, 3)},
        }
        for name, value in expected.items():
            assert found[name][index].item() == pytest.approx(value), name


def test_depths_under_the_floor_count_as_the_floor_in_ratios_only():
    black, floor = torch.zeros(1, 1, 16, 16), torch.full((1, 1, 16, 16), 0.01)
    found = image_metrics(Prediction(black, black), black, floor, threshold=0.5)
    assert found["depth_abs_rel"].item() == found["depth_rmse_log"].item() == 0
    assert found["depth_mae"].item() == pytest.approx(0.01)


def test_aligned_metrics_do_not_see_scale_and_shift():
    prediction, mask, depth = random_case()
    plain = image_metrics(prediction, mask, depth, threshold=0.5)
    squeezed = image_metrics(Prediction(prediction[0], 0.2 + 0.5 * prediction[1]), mask, depth, threshold=0.5)
    for name in ("depth_ssi_mae", "depth_ssi_abs_rel"):
        torch.testing.assert_close(squeezed[name], plain[name])
    assert not torch.allclose(squeezed["depth_mae"], plain["depth_mae"])


def test_an_image_without_object_scores_its_whole_error_there():
    pred, target = torch.full((1, 1, 16, 16), 0.7).double(), torch.full((1, 1, 16, 16), 0.4).double()
    nothing = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    for truth in (nothing, ~nothing):
        found = region_metrics(pred, target, truth)
        assert found["depth_mae_foreground"].item() == pytest.approx(0.3)
        assert found["depth_mae_background"].item() == pytest.approx(0.3)


def test_depth_of_zeros_and_ones_is_perfect_by_the_iou_rule_and_poor_by_ssim():
    _, mask, depth = worked_case()
    halves = (depth > 0.5033).double()
    found = image_metrics(Prediction(scores(mask), halves), mask, depth, threshold=0.5)
    assert found["sajnanshetty_depth_iou"].item() == 1
    assert found["depth_ssim"].item() < 0.5


def test_true_depth_scores_about_one_half_by_the_depth_dice_rule():
    _, mask, depth = worked_case()
    found = image_metrics(Prediction(scores(mask), depth), mask, depth, threshold=0.5)
    ceiling = depth.square().mean() / depth.mean()
    assert found["deepjyotisaha85_depth_dice"].item() == pytest.approx(ceiling.item(), abs=1e-6)


def test_iou_rule_of_the_students_binarises_the_truth_at_its_zscore():
    _, mask, depth = worked_case()
    soft = mask * 0.169  # above mean + deviation / 2 of their masks: object
    found = image_metrics(Prediction(scores(mask), depth), soft, depth, threshold=0.5)
    assert found["sajnanshetty_mask_iou"].item() == pytest.approx(1)
    found = image_metrics(Prediction(scores(mask), depth), mask * 0.168, depth, threshold=0.5)
    assert found["sajnanshetty_mask_iou"].item() == pytest.approx(0, abs=1e-6)


def test_student_dice_of_probabilities_is_not_thresholded():
    _, mask, depth = worked_case()
    found = image_metrics(Prediction(torch.zeros_like(mask), depth), mask, depth, threshold=0.5)
    expected = 2 * 0.5 * 576 / (0.5 * 4096 + 576)
    assert found["mshilpaa_dice"].item() == pytest.approx(expected, abs=1e-6)
    assert found["deepjyotisaha85_mask_dice"].item() == pytest.approx(0, abs=1e-6)


def test_a_student_iou_that_keeps_its_overlap_in_the_union_gives_a_perfect_mask_a_half():
    _, mask, depth = worked_case()
    found = image_metrics(Prediction(scores(mask), depth), mask, depth, threshold=0.5)
    assert (found["mask_iou"].item(), found["mshilpaa_iou"].item()) == pytest.approx((1, 0.5))


def test_student_ssim_is_flattering():
    prediction, mask, depth = worked_case()
    found = image_metrics(prediction, mask, depth, threshold=0.5)
    assert found["mshilpaa_ssim"].item() == pytest.approx(0.9117, abs=1e-4)
    assert found["depth_ssim"].item() == ssim(prediction.depth, depth).item() < 0.77


def test_targets_of_another_shape_are_refused():
    prediction, mask, depth = random_case()
    with pytest.raises(ValueError, match=r"depth: the prediction has shape \(6, 1, 24, 30\), the target \(6, 24, 30\)"):
        image_metrics(prediction, mask, depth[:, 0], threshold=0.5)
    with pytest.raises(ValueError, match=r"both must be \(B, 1, H, W\)"):
        image_metrics(prediction, mask.expand(-1, 3, -1, -1), depth, threshold=0.5)


def test_images_smaller_than_the_window_are_refused():
    small = torch.zeros(1, 1, 8, 8)
    with pytest.raises(ValueError, match="at least 11 px a side, found 8 x 8"):
        image_metrics(Prediction(small, small), small, small, threshold=0.5)
