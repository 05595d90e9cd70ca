"""The rules by which three student projects scored, to compare with what they published only."""

from torch import Tensor

from maskdepth.losses.students import (
    SAJNANSHETTY_DEPTH_MEAN,
    SAJNANSHETTY_DEPTH_STD,
    SAJNANSHETTY_MASK_MEAN,
    SAJNANSHETTY_MASK_STD,
    kornia03_ssim_map,
)
from maskdepth.metrics.images import count_pixels


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


def _smoothed_iou(pred: Tensor, truth: Tensor) -> Tensor:
    intersection, union = count_pixels(pred & truth), count_pixels(pred | truth)
    return (intersection + 1e-5) / (union + 1e-5)


def _smoothed_dice(pred: Tensor, target: Tensor) -> Tensor:
    pred, target = pred.flatten(1), target.flatten(1)
    return (2 * (pred * target).sum(1) + 1e-4) / (pred.sum(1) + target.sum(1) + 1e-4)
