"""Every metric by name: which way is better, which are shown where, and one function that measures any of them.

The mean over a data set is the mean of the numbers of its images, so batch size and order change nothing; the pooled
intersection over union divides the sums of `mask_intersection` and `mask_union`. Formulas, ranges and references stand
at the groups in `images` and `students`.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple

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

Better = Literal["high", "low", "neither"]

# What validation shows.
QUICK_METRICS = ("mask_iou", "mask_dice", "depth_ssim", "depth_mae", "depth_rmse")

# What runs are judged by: each has an interval, baselines and a number per cell. Depth is relative here, so no ratio of
# depths is among them: of the same maps, turned into distances, the order of two networks can be the reverse.
HEADLINE = ("mask_iou", "mask_boundary_iou", "depth_ssim", "depth_ssi_mae", "depth_mae_foreground")

# What `score` is the mean of: one metric of each head, both in [0, 1] and better high.
SCORED = ("mask_iou", "depth_ssim")


class Maps(NamedTuple):
    """What a group of metrics looks at: (B, 1, H, W) float64 each.

    Attributes:
        prob: Mask probability, [0, 1].
        mask: True mask; above 0.5 is object.
        depth: Estimated depth, [0, 1].
        depth_target: True depth, [0, 1].
        threshold: Mask probability above which a pixel is predicted object, (0, 1).
    """

    prob: Tensor
    mask: Tensor
    depth: Tensor
    depth_target: Tensor
    threshold: float


class Group(NamedTuple):
    """Metrics that are measured together.

    Attributes:
        measure: Gives (B,) float64 per metric.
        better: Which way each is better; "neither" for counts and for what one may not aim at.
    """

    measure: Callable[[Maps], dict[str, Tensor]]
    better: dict[str, Better]


GROUPS = (
    Group(
        lambda maps: mask_metrics(maps.prob, maps.mask, maps.threshold),
        {
            "mask_iou": "high",
            "mask_dice": "high",
            "mask_precision": "high",
            "mask_recall": "high",
            "mask_mae": "low",
            "mask_sad": "low",
            "mask_intersection": "neither",
            "mask_union": "neither",
            "mask_area": "neither",
        },
    ),
    Group(
        lambda maps: boundary_metrics(maps.prob > maps.threshold, maps.mask > 0.5),
        {"mask_boundary_iou": "high", "mask_boundary_f": "high"},
    ),
    Group(
        lambda maps: depth_metrics(maps.depth, maps.depth_target),
        {
            "depth_ssim": "high",
            "depth_mae": "low",
            "depth_rmse": "low",
            "depth_psnr": "high",
            "depth_abs_rel": "low",
            "depth_sq_rel": "low",
            "depth_rmse_log": "low",
            "depth_log10": "low",
            "depth_silog": "low",
            "depth_delta1": "high",
            "depth_delta2": "high",
            "depth_delta3": "high",
        },
    ),
    Group(
        lambda maps: aligned_depth_metrics(maps.depth, maps.depth_target),
        {"depth_ssi_mae": "low", "depth_ssi_abs_rel": "low"},
    ),
    Group(
        lambda maps: region_metrics(maps.depth, maps.depth_target, maps.mask > 0.5),
        {"depth_mae_foreground": "low", "depth_mae_background": "low"},
    ),
    Group(
        lambda maps: student_metrics(maps.prob, maps.mask, maps.depth, maps.depth_target),
        {
            "sajnanshetty_mask_iou": "neither",
            "sajnanshetty_depth_iou": "neither",
            "deepjyotisaha85_mask_dice": "neither",
            "deepjyotisaha85_depth_dice": "neither",
            "mshilpaa_dice": "neither",
            "mshilpaa_iou": "neither",
            "mshilpaa_ssim": "neither",
        },
    ),
)

METRICS: dict[str, Better] = {name: better for group in GROUPS for name, better in group.better.items()}


def image_metrics(
    prediction: Prediction, mask: Tensor, depth: Tensor, threshold: float, names: Iterable[str] = METRICS
) -> dict[str, Tensor]:
    """Measure each image; a group of which no metric is wanted costs nothing.

    Args:
        prediction: Mask scores and depth of the network, (B, 1, H, W) each.
        mask: (B, 1, H, W) true mask; above 0.5 is object.
        depth: (B, 1, H, W) true depth, [0, 1].
        threshold: Mask probability above which a pixel is predicted object, (0, 1).
        names: The metrics wanted, keys of METRICS.

    Returns:
        (B,) float64 for each of `names`.

    Raises:
        ValueError: A target of another shape than its prediction, or images smaller than 11 px a side.
    """
    check_targets(prediction, mask, depth)
    prob = prediction.mask_logits.double().sigmoid()
    maps = Maps(prob, mask.double(), prediction.depth.double(), depth.double(), threshold)
    wanted = list(names)
    measured: dict[str, Tensor] = {}
    for group in GROUPS:
        if not group.better.keys().isdisjoint(wanted):
            measured |= group.measure(maps)
    return {name: measured[name] for name in wanted}


def score(numbers: Mapping[str, float]) -> float:
    """Judge metrics by one number, to sort by: the mean of mask IoU and depth SSIM; higher is better.

    A convenience and no verdict: it favours losses that optimise SSIM.

    >>> score({"mask_iou": 0.5, "depth_ssim": 1.0})
    0.75
    """
    return sum(numbers[name] for name in SCORED) / len(SCORED)
