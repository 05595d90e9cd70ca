"""Metrics of masks and depth maps: one number per image in float64, never one per batch.

The mean over a data set is the mean of these numbers, so batch size and order change nothing; the pooled intersection
over union divides the sums of `mask_intersection` and `mask_union`. Every metric of finite maps is finite: what an
empty mask scores is written at each group. Other projects' own rules stand at the end, for comparison only.
"""

import math
from collections.abc import Iterable, Iterator
from functools import reduce
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

from maskdepth.depth_losses import MIN_DEPTH, SAJNANSHETTY_DEPTH_MEAN, SAJNANSHETTY_DEPTH_STD, align
from maskdepth.map_losses import kornia03_ssim_map
from maskdepth.mask_losses import SAJNANSHETTY_MASK_MEAN, SAJNANSHETTY_MASK_STD
from maskdepth.models.prediction import Prediction, check_targets
from maskdepth.ssim import ssim

# The metrics that get intervals, baselines and a number per cell: each target's usual ones.
HEADLINE = ("mask_iou", "mask_boundary_iou", "depth_ssim", "depth_rmse", "depth_abs_rel", "depth_delta1")

QUICK_METRICS = (
    "mask_iou",
    "mask_dice",
    "depth_ssim",
    "depth_mae",
    "depth_rmse",
    "depth_abs_rel",
    "depth_delta1",
)

BOUNDARY_BAND = 0.02  # width of the band of boundary IoU, share of the image's diagonal
BOUNDARY_TOLERANCE = 0.008  # how far contours may lie apart, share of the image's diagonal
PSNR_LIMIT = 100.0  # [dB] what equal maps score, in place of infinity


def image_metrics(prediction: Prediction, mask: Tensor, depth: Tensor, threshold: float) -> dict[str, Tensor]:
    """Measure each image in every way.

    Args:
        prediction: Mask scores and depth of the network, (B, 1, H, W) each.
        mask: (B, 1, H, W) true mask; above 0.5 is object.
        depth: (B, 1, H, W) true depth, [0, 1].
        threshold: Mask probability above which a pixel is predicted object, (0, 1).

    Returns:
        (B,) float64 per metric. Names, formulas and ranges stand at the groups: `mask_metrics`, `boundary_metrics`,
        `depth_metrics`, `aligned_depth_metrics`, `region_metrics`, `student_metrics`.

    Raises:
        ValueError: A target of another shape than its prediction, or images smaller than 11 px a side.
    """
    prob, mask, depth_pred, depth = _as_float64(prediction, mask, depth)
    return {
        **mask_metrics(prob, mask, threshold),
        **boundary_metrics(prob > threshold, mask > 0.5),
        **depth_metrics(depth_pred, depth),
        **aligned_depth_metrics(depth_pred, depth),
        **region_metrics(depth_pred, depth, mask > 0.5),
        **student_metrics(prob, mask, depth_pred, depth),
    }


def quick_metrics(prediction: Prediction, mask: Tensor, depth: Tensor, threshold: float) -> dict[str, Tensor]:
    """Measure each image by the few metrics that validation shows; equal to those of `image_metrics`.

    Args:
        prediction: Mask scores and depth of the network, (B, 1, H, W) each.
        mask: (B, 1, H, W) true mask; above 0.5 is object.
        depth: (B, 1, H, W) true depth, [0, 1].
        threshold: Mask probability above which a pixel is predicted object, (0, 1).

    Returns:
        (B,) float64 for each name of QUICK_METRICS.

    Raises:
        ValueError: A target of another shape than its prediction, or images smaller than 11 px a side.
    """
    prob, mask, depth_pred, depth = _as_float64(prediction, mask, depth)
    measured = mask_metrics(prob, mask, threshold) | depth_metrics(depth_pred, depth)
    return {name: measured[name] for name in QUICK_METRICS}


def headline_metrics(prediction: Prediction, mask: Tensor, depth: Tensor, threshold: float) -> dict[str, Tensor]:
    """Measure each image by the metrics that a baseline is judged by; equal to those of `image_metrics`.

    Args:
        prediction: Mask scores and depth, (B, 1, H, W) each.
        mask: (B, 1, H, W) true mask; above 0.5 is object.
        depth: (B, 1, H, W) true depth, [0, 1].
        threshold: Mask probability above which a pixel is predicted object, (0, 1).

    Returns:
        (B,) float64 for each name of HEADLINE.

    Raises:
        ValueError: A target of another shape than its prediction, or images smaller than 11 px a side.
    """
    prob, mask, depth_pred, depth = _as_float64(prediction, mask, depth)
    measured = mask_metrics(prob, mask, threshold) | depth_metrics(depth_pred, depth)
    measured |= boundary_metrics(prob > threshold, mask > 0.5)
    return {name: measured[name] for name in HEADLINE}


def mask_metrics(prob: Tensor, mask: Tensor, threshold: float) -> dict[str, Tensor]:
    """Compare the masks pixel by pixel.

    With TP, FP, FN the counts of pixels right, false and missed:
    mask_iou = TP / (TP + FP + FN); mask_dice = 2 TP / (2 TP + FP + FN); mask_precision = TP / (TP + FP);
    mask_recall = TP / (TP + FN), all [0, 1]; 1 where both masks are empty, 0 where one is.
    mask_mae = mean |p - t| of the probabilities, [0, 1]; mask_sad = sum |p - t| / 1000, which grows with the image.
    mask_intersection = TP, mask_union = TP + FP + FN [px], to be summed over a data set before they are divided.

    Args:
        prob: (B, 1, H, W) mask probability, [0, 1].
        mask: (B, 1, H, W) true mask; above 0.5 is object.
        threshold: Probability above which a pixel is predicted object.

    Returns:
        (B,) per metric.

    >>> prob, mask = torch.tensor([[[[0.9, 0.8, 0.1, 0.0]]]]), torch.tensor([[[[1.0, 0.0, 1.0, 0.0]]]])
    >>> measured = mask_metrics(prob.double(), mask.double(), 0.5)
    >>> [round(measured[f"mask_{name}"].item(), 4) for name in ("iou", "dice", "precision", "recall", "mae")]
    [0.3333, 0.5, 0.5, 0.5, 0.45]
    """
    pred, truth = (prob > threshold).flatten(1), (mask > 0.5).flatten(1)
    intersection, union = _count(pred & truth), _count(pred | truth)
    num_pred, num_truth = _count(pred), _count(truth)
    error = (prob - mask).abs().flatten(1)
    return {
        "mask_iou": _ratio(intersection, union, 1),
        "mask_dice": _ratio(2 * intersection, num_pred + num_truth, 1),
        "mask_precision": _ratio(intersection, num_pred, num_truth == 0),
        "mask_recall": _ratio(intersection, num_truth, num_pred == 0),
        "mask_mae": error.mean(1),
        "mask_sad": error.sum(1) / 1000,
        "mask_intersection": intersection,
        "mask_union": union,
    }


def boundary_metrics(pred: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """Compare the edges of the masks, where the large inside of an object no longer hides errors.

    mask_boundary_iou = IoU of the bands along the inner side of the edges, 2 % of the diagonal wide.
    mask_boundary_f = 2 P R / (P + R), P the share of the predicted contour within 0.8 % of the diagonal of the true
    one, R the reverse. Both [0, 1]; 1 where both masks are empty, 0 where one is.

    Args:
        pred: (B, 1, H, W) predicted mask, bool.
        truth: (B, 1, H, W) true mask, bool.

    Returns:
        (B,) float64 per metric.

    Reference:
        Cheng et al. 2021, https://arxiv.org/abs/2103.16562, equation 3, and Perazzi et al. 2016,
        https://doi.org/10.1109/CVPR.2016.85, section 4; theirs matches contours by dilation with a disk, as ours.
    """
    diagonal = math.hypot(*pred.shape[-2:])
    masks = torch.stack([pred, truth])  # (2, B, 1, H, W), so that each step runs once
    width = max(1, round(BOUNDARY_BAND * diagonal))
    pred_band, truth_band = masks & ~_erode(masks, width)
    contours = pred_contour, truth_contour = masks & ~_erode(masks, 1)
    near_pred, near_truth = _dilate(contours, math.ceil(BOUNDARY_TOLERANCE * diagonal))
    num_pred, num_truth = _count(pred_contour), _count(truth_contour)
    precision = _ratio(_count(pred_contour & near_truth), num_pred, num_truth == 0)
    recall = _ratio(_count(truth_contour & near_pred), num_truth, num_pred == 0)
    return {
        "mask_boundary_iou": _ratio(_count(pred_band & truth_band), _count(pred_band | truth_band), 1),
        "mask_boundary_f": _ratio(2 * precision * recall, precision + recall, 0),
    }


def depth_metrics(pred: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Compare the depth maps as they are.

    With p, t floored at 0.01 wherever they are divided or a logarithm is taken, and g = ln(p) - ln(t):
    depth_ssim: `maskdepth.ssim.ssim`, [-1, 1]. depth_psnr = -10 log10(mean (p - t)^2) [dB], at most 100.
    depth_mae = mean |p - t|; depth_rmse = sqrt(mean (p - t)^2), [0, 1].
    depth_abs_rel = mean |p - t| / t; depth_sq_rel = mean (p - t)^2 / t, at least 0.
    depth_rmse_log = sqrt(mean g^2); depth_log10 = mean |g| / ln 10; depth_silog = 100 sqrt(mean g^2 - (mean g)^2).
    depth_delta1, 2, 3 = share of pixels with max(p / t, t / p) < 1.25, 1.25^2, 1.25^3, [0, 1].

    Args:
        pred: (B, 1, H, W) estimated depth, [0, 1], float64.
        target: (B, 1, H, W) true depth, [0, 1], float64.

    Returns:
        (B,) per metric; SSIM, PSNR and the deltas are better high, the others low.

    Reference:
        Eigen et al. 2014, https://arxiv.org/abs/1406.2283, section 4.1; log10 and sq_rel as in their comparisons;
        silog as in KITTI, http://www.cvlibs.net/datasets/kitti/eval_depth.php.
    """
    squared = (pred - target).square().flatten(1)
    mse = squared.mean(1)
    pred_floored, target_floored = pred.flatten(1).clamp(min=MIN_DEPTH), target.flatten(1).clamp(min=MIN_DEPTH)
    gap = pred_floored.log() - target_floored.log()
    log_ratio = gap.abs()
    return {
        "depth_ssim": ssim(pred, target),
        "depth_mae": squared.sqrt().mean(1),
        "depth_rmse": mse.sqrt(),
        "depth_psnr": -10 * mse.clamp(min=10 ** (-PSNR_LIMIT / 10)).log10(),
        "depth_abs_rel": ((pred_floored - target_floored).abs() / target_floored).mean(1),
        "depth_sq_rel": ((pred_floored - target_floored).square() / target_floored).mean(1),
        "depth_rmse_log": gap.square().mean(1).sqrt(),
        "depth_log10": log_ratio.mean(1) / math.log(10),
        "depth_silog": 100 * gap.var(1, correction=0).sqrt(),
        **{f"depth_delta{k}": (log_ratio < k * math.log(1.25)).double().mean(1) for k in (1, 2, 3)},
    }


def aligned_depth_metrics(pred: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Compare the depth maps after the best scale and shift of each image: the shape alone counts.

    With a = s * p + b, s and b by least squares: depth_ssi_mae = mean |a - t|;
    depth_ssi_abs_rel = mean |a - t| / t, both floored at 0.01; at least 0.

    Args:
        pred: (B, 1, H, W) estimated depth, float64.
        target: (B, 1, H, W) true depth, [0, 1], float64.

    Returns:
        (B,) per metric.

    Reference:
        Ranftl et al. 2020, MiDaS, https://arxiv.org/abs/1907.01341, equation 4.
    """
    aligned = align(pred, target)
    floored, target_floored = aligned.clamp(min=MIN_DEPTH), target.clamp(min=MIN_DEPTH)
    return {
        "depth_ssi_mae": (aligned - target).abs().flatten(1).mean(1),
        "depth_ssi_abs_rel": ((floored - target_floored).abs() / target_floored).flatten(1).mean(1),
    }


def region_metrics(pred: Tensor, target: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """Depth error on the object and off it: a few per cent of the pixels would drown in the mean of all.

    depth_mae_foreground = mean |p - t| inside the true mask, depth_mae_background = outside, [0, 1]. An image without
    such pixels scores its mean over all pixels.

    Args:
        pred: (B, 1, H, W) estimated depth, [0, 1], float64.
        target: (B, 1, H, W) true depth, [0, 1], float64.
        truth: (B, 1, H, W) true mask, bool.

    Returns:
        (B,) per metric.
    """
    error, inside = (pred - target).abs().flatten(1), truth.flatten(1)
    mae, in_sum, in_count = error.mean(1), (error * inside).sum(1), _count(inside)
    return {
        "depth_mae_foreground": _ratio(in_sum, in_count, mae),
        "depth_mae_background": _ratio((error * ~inside).sum(1), inside.shape[1] - in_count, mae),
    }


def student_metrics(prob: Tensor, mask: Tensor, depth: Tensor, depth_target: Tensor) -> dict[str, Tensor]:
    """Score by the rules of three earlier projects, to compare with what they published; none is a standard.

    sajnanshetty_mask_iou, sajnanshetty_depth_iou: IoU of p > 0.5 with z-scored target > 0.5, which is a raw mask above
    0.168 and a raw depth above 0.503; 1e-5 px on both sides. For depth it says only which half is far: a map of zeros
    and ones scores 1.
    deepjyotisaha85_mask_dice: Dice of p > 0.5. deepjyotisaha85_depth_dice: Dice of the raw depths; the true map itself
    scores E[t^2] / E[t], near 0.5. mshilpaa_dice: Dice of the mask probabilities, not thresholded. 1e-4 px each.
    mshilpaa_iou: the same overlap over the sum of both areas, without taking off what they share: never above 0.5.
    mshilpaa_ssim: mean of SSIM clipped to [0, 1], window of 3 px, zeros outside: higher than the standard one.

    All are per image here. Theirs pool or average over batches, the last batch only for mshilpaa.

    Args:
        prob: (B, 1, H, W) mask probability, [0, 1], float64.
        mask: (B, 1, H, W) true mask, [0, 1], float64.
        depth: (B, 1, H, W) estimated depth, [0, 1], float64.
        depth_target: (B, 1, H, W) true depth, [0, 1], float64.

    Returns:
        (B,) per metric, [0, 1].

    Reference:
        https://github.com/sajnanshetty/deep-learning, https://github.com/deepjyotisaha85/eva4,
        https://github.com/mshilpaa/EVA4.
    """
    mask_bound = SAJNANSHETTY_MASK_MEAN + 0.5 * SAJNANSHETTY_MASK_STD
    depth_bound = SAJNANSHETTY_DEPTH_MEAN + 0.5 * SAJNANSHETTY_DEPTH_STD
    return {
        "sajnanshetty_mask_iou": _smoothed_iou(prob > 0.5, mask > mask_bound),
        "sajnanshetty_depth_iou": _smoothed_iou(depth > 0.5, depth_target > depth_bound),
        "deepjyotisaha85_mask_dice": _smoothed_dice((prob > 0.5).double(), mask),
        "deepjyotisaha85_depth_dice": _smoothed_dice(depth, depth_target),
        "mshilpaa_dice": _smoothed_dice(prob, mask),
        "mshilpaa_iou": (prob * mask).flatten(1).sum(1) / (prob.flatten(1).sum(1) + mask.flatten(1).sum(1) + 1e-4),
        "mshilpaa_ssim": kornia03_ssim_map(depth, depth_target, 3).flatten(1).mean(1),
    }


def _as_float64(prediction: Prediction, mask: Tensor, depth: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Check the shapes and give mask probability, mask, estimated depth and depth."""
    check_targets(prediction, mask, depth)
    return prediction.mask_logits.double().sigmoid(), mask.double(), prediction.depth.double(), depth.double()


def _count(pixels: Tensor) -> Tensor:
    return pixels.flatten(1).sum(1).double()


def _ratio(part: Tensor, whole: Tensor, otherwise: Tensor | float) -> Tensor:
    """Divide, and give `otherwise` where the whole is 0."""
    fallback = torch.as_tensor(otherwise, dtype=whole.dtype, device=whole.device)
    return torch.where(whole > 0, part / whole.where(whole > 0, 1), fallback)


def _erode(masks: Tensor, radius: int) -> Tensor:
    """Take a square of 2 * radius + 1 px off (..., H, W) masks; outside the image there is no object."""
    # A square is a row of columns.
    columns = reduce(torch.logical_and, _moved(masks, ((down, 0) for down in range(-radius, radius + 1)), radius))
    return reduce(torch.logical_and, _moved(columns, ((0, right) for right in range(-radius, radius + 1)), radius))


def _dilate(contours: Tensor, radius: int) -> Tensor:
    """Find the pixels within `radius` px of (..., H, W) contours, in a straight line."""
    square = product(range(-radius, radius + 1), repeat=2)
    disk = ((down, right) for down, right in square if down**2 + right**2 <= radius**2)
    return reduce(torch.logical_or, _moved(contours, disk, radius))


def _moved(masks: Tensor, offsets: Iterable[tuple[int, int]], most: int) -> Iterator[Tensor]:
    """Give (..., H, W) masks moved down and right by each offset, at most so many px; nothing comes in."""
    height, width = masks.shape[-2:]
    padded = functional.pad(masks, (most,) * 4)
    for down, right in offsets:
        yield padded[..., most - down : most - down + height, most - right : most - right + width]


def _smoothed_iou(pred: Tensor, truth: Tensor) -> Tensor:
    intersection, union = _count(pred & truth), _count(pred | truth)
    return (intersection + 1e-5) / (union + 1e-5)


def _smoothed_dice(pred: Tensor, target: Tensor) -> Tensor:
    pred, target = pred.flatten(1), target.flatten(1)
    return (2 * (pred * target).sum(1) + 1e-4) / (pred.sum(1) + target.sum(1) + 1e-4)
