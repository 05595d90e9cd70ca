"""Which metrics are measured where: all of them, the quick ones of validation, the headline ones of baselines.

The mean over a data set is the mean of the numbers of its images, so batch size and order change nothing; the pooled
intersection over union divides the sums of `mask_intersection` and `mask_union`.
"""

from torch import Tensor

from maskdepth.metrics.images import (
    aligned_depth_metrics,
    boundary_metrics,
    depth_metrics,
    mask_metrics,
    region_metrics,
)
from maskdepth.metrics.students import student_metrics
from maskdepth.models.prediction import Prediction, check_targets

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


def _as_float64(prediction: Prediction, mask: Tensor, depth: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Check the shapes and give mask probability, mask, estimated depth and depth."""
    check_targets(prediction, mask, depth)
    return prediction.mask_logits.double().sigmoid(), mask.double(), prediction.depth.double(), depth.double()
