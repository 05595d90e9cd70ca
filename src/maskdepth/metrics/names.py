"""Every metric by name: which way is better, and which are shown where. Tables and pages need no more, and no torch."""

from collections.abc import Mapping
from typing import Literal

Better = Literal["high", "low", "neither"]

MASK: dict[str, Better] = {
    "mask_iou": "high",
    "mask_dice": "high",
    "mask_precision": "high",
    "mask_recall": "high",
    "mask_mae": "low",
    "mask_sad": "low",
    "mask_intersection": "neither",
    "mask_union": "neither",
    "mask_area": "neither",
}

BOUNDARY: dict[str, Better] = {"mask_boundary_iou": "high", "mask_boundary_f": "high"}

DEPTH: dict[str, Better] = {
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
}

ALIGNED_DEPTH: dict[str, Better] = {"depth_ssi_mae": "low", "depth_ssi_abs_rel": "low"}

DEPTH_BOUNDARY: dict[str, Better] = {f"depth_boundary_f_{radius}px": "high" for radius in (1, 2, 3)}

REGIONS: dict[str, Better] = {"depth_mae_foreground": "low", "depth_mae_background": "low"}

STUDENTS: dict[str, Better] = {
    "sajnanshetty_mask_iou": "neither",
    "sajnanshetty_depth_iou": "neither",
    "deepjyotisaha85_mask_dice": "neither",
    "deepjyotisaha85_depth_dice": "neither",
    "mshilpaa_dice": "neither",
    "mshilpaa_iou": "neither",
    "mshilpaa_ssim": "neither",
}

METRICS = MASK | BOUNDARY | DEPTH | ALIGNED_DEPTH | DEPTH_BOUNDARY | REGIONS | STUDENTS

# What validation shows.
QUICK_METRICS = ("mask_iou", "mask_dice", "depth_ssim", "depth_mae", "depth_rmse")

# What runs are judged by: each has an interval, baselines and a number per cell. Depth is relative here, so no ratio of
# depths is among them: of the same maps, turned into distances, the order of two networks can be the reverse.
HEADLINE = ("mask_iou", "mask_boundary_iou", "depth_ssim", "depth_ssi_mae", "depth_mae_foreground")

# What `score` is the mean of: one metric of each head, both in [0, 1] and better high.
SCORED = ("mask_iou", "depth_ssim")


def score(numbers: Mapping[str, float]) -> float:
    """Judge metrics by one number, to sort by: the mean of mask IoU and depth SSIM; higher is better.

    A convenience and no verdict: it favours losses that optimise SSIM.

    >>> score({"mask_iou": 0.5, "depth_ssim": 1.0})
    0.75
    """
    return sum(numbers[name] for name in SCORED) / len(SCORED)
