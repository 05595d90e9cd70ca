"""Metrics of masks and depth maps: one number per image in float64, never one per batch.

Every metric of finite maps is finite: what an empty mask scores is written at each group.
"""

import math
from collections.abc import Iterable, Iterator
from functools import reduce
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

from maskdepth.losses.depth import MIN_DEPTH, align
from maskdepth.losses.ssim import ssim

BOUNDARY_BAND = 0.02  # width of the band of boundary IoU, share of the image's diagonal
BOUNDARY_TOLERANCE = 0.008  # how far contours may lie apart, share of the image's diagonal
# Steps of depth that are contours: the smallest, the largest [share of the range], and how many at even distances.
CONTOUR_STEPS = 0.05, 0.25, 10
PSNR_LIMIT = 100.0  # [dB] what equal maps score, in place of infinity


def mask_metrics(prob: Tensor, mask: Tensor, threshold: float) -> dict[str, Tensor]:
    """Compare the masks pixel by pixel.

    With TP, FP, FN the counts of pixels right, false and missed:
    mask_iou = TP / (TP + FP + FN); mask_dice = 2 TP / (2 TP + FP + FN); mask_precision = TP / (TP + FP);
    mask_recall = TP / (TP + FN), all [0, 1]; 1 where both masks are empty, 0 where one is.
    mask_mae = mean |p - t| of the probabilities, [0, 1]; mask_sad = sum |p - t| / 1000, which grows with the image.
    mask_intersection = TP, mask_union = TP + FP + FN [px], to be summed over a data set before they are divided.
    mask_area = share of the image that is truly object, [0, 1]: no measure of the prediction.

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
    intersection, union = count_pixels(pred & truth), count_pixels(pred | truth)
    num_pred, num_truth = count_pixels(pred), count_pixels(truth)
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
        "mask_area": num_truth / truth.shape[1],
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
    num_pred, num_truth = count_pixels(pred_contour), count_pixels(truth_contour)
    precision = _ratio(count_pixels(pred_contour & near_truth), num_pred, num_truth == 0)
    recall = _ratio(count_pixels(truth_contour & near_pred), num_truth, num_pred == 0)
    return {
        "mask_boundary_iou": _ratio(count_pixels(pred_band & truth_band), count_pixels(pred_band | truth_band), 1),
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

    With a = s * p + b, s >= 0 and b by least squares: depth_ssi_mae = mean |a - t|;
    depth_ssi_abs_rel = mean |a - t| / t, both floored at 0.01; at least 0.

    Args:
        pred: (B, 1, H, W) estimated depth, float64.
        target: (B, 1, H, W) true depth, [0, 1], float64.

    Returns:
        (B,) per metric.

    Reference:
        Ranftl et al. 2020, MiDaS, https://arxiv.org/abs/1907.01341, equation 4, with s bounded:
        by theirs the inverted truth is perfect.
    """
    aligned = align(pred, target, least_scale=0.0)
    floored, target_floored = aligned.clamp(min=MIN_DEPTH), target.clamp(min=MIN_DEPTH)
    return {
        "depth_ssi_mae": (aligned - target).abs().flatten(1).mean(1),
        "depth_ssi_abs_rel": ((floored - target_floored).abs() / target_floored).flatten(1).mean(1),
    }


def depth_boundary_metrics(pred: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Compare where the depth maps step: what SSIM forgives, and what shows when another background is put behind.

    Two pixels within r px of each other are a contour of step s where the one is deeper by more than s. With P, T the
    sets of such ordered pairs in both maps, depth_boundary_f_rpx = the mean over ten steps from 0.05 to 0.25, each
    weighed by its size, of 2 |P and T| / (|P| + |T|); [0, 1]. A step that neither map has scores 1, one that only one
    has 0.

    Args:
        pred: (B, 1, H, W) estimated depth, [0, 1], float64.
        target: (B, 1, H, W) true depth, [0, 1], float64.

    Returns:
        (B,) per metric.

    Reference:
        Wang et al. 2025, MoGe-2, https://arxiv.org/abs/2507.02546, after Bochkovskii et al. 2024, Depth Pro,
        https://arxiv.org/abs/2410.02073, equations 6 and 7. Theirs asks for the ratio of metric depths; relative
        depth, whose nearest pixel is 0, has differences alone.
    """
    steps = torch.linspace(*CONTOUR_STEPS, dtype=pred.dtype, device=pred.device)
    maps = torch.stack([pred, target])
    in_both = in_either = torch.zeros(len(pred), len(steps), dtype=pred.dtype, device=pred.device)
    measured = {}
    for radius in (1, 2, 3):
        for down, right in _neighbours(radius):
            jumps = _differences(maps, down, right)
            one, other = exceeded = _count_exceeded(jumps.abs())
            shared = torch.where(jumps[0] * jumps[1] > 0, torch.minimum(one, other), 0)
            in_both = in_both + _count_reached(shared)
            in_either = in_either + sum(map(_count_reached, exceeded))
        scores = _ratio(2 * in_both, in_either, 1)
        measured[f"depth_boundary_f_{radius}px"] = (scores * steps).sum(1) / steps.sum()
    return measured


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
    mae, in_sum, in_count = error.mean(1), (error * inside).sum(1), count_pixels(inside)
    return {
        "depth_mae_foreground": _ratio(in_sum, in_count, mae),
        "depth_mae_background": _ratio((error * ~inside).sum(1), inside.shape[1] - in_count, mae),
    }


def count_pixels(pixels: Tensor) -> Tensor:
    """Count the true pixels of each image: (B,) float64."""
    return pixels.flatten(1).sum(1).double()


def _ratio(part: Tensor, whole: Tensor, otherwise: Tensor | float) -> Tensor:
    """Divide, and give `otherwise` where the whole is 0."""
    # A Python number stays one: made a tensor, it would be copied to the device each time.
    fallback = otherwise.to(whole.dtype) if isinstance(otherwise, Tensor) else otherwise
    return torch.where(whole > 0, part / whole.where(whole > 0, 1), fallback)


def _neighbours(radius: int) -> Iterator[tuple[int, int]]:
    """Give the offsets that are over `radius` - 1 px long and at most `radius`, of two opposite ones the first."""
    for down, right in product(range(-radius, radius + 1), repeat=2):
        if (down, right) < (0, 0) and radius - 1 < math.hypot(down, right) <= radius:
            yield down, right


def _differences(maps: Tensor, down: int, right: int) -> Tensor:
    """Take the value so far up and aside off each pixel of (..., 1, H, W) that has one: (..., n)."""
    height, width = maps.shape[-2:]
    here = maps[..., max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)]
    there = maps[..., max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)]
    return (here - there).flatten(-3)


def _count_exceeded(jumps: Tensor) -> Tensor:
    """Count for each entry the contour steps that are smaller than it; what is no number exceeds none."""
    smallest, largest, number = CONTOUR_STEPS
    return ((jumps - smallest) * ((number - 1) / (largest - smallest))).ceil().nan_to_num(0).clamp(0, number).long()


def _count_reached(exceeded: Tensor) -> Tensor:
    """Count for each contour step the entries of (B, n) that exceed it: (B, steps) float64."""
    bins = CONTOUR_STEPS[2] + 1
    rows = torch.arange(len(exceeded), device=exceeded.device).unsqueeze(1)
    counts = torch.bincount((rows * bins + exceeded).flatten(), minlength=len(exceeded) * bins)
    return counts.view(len(exceeded), bins)[:, 1:].flip(1).cumsum(1).flip(1).double()


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
