"""Losses of the mask head: raw scores against a mask of zeros and ones.

Every loss takes the scores and the true mask, (B, 1, H, W) each, float32 or float64, and returns the mean over the
batch, (). Its formula stands in the tables of `names`, with z the score, p = sigmoid(z) and t the truth. Where a
loss has to know what is object, a target above 0.5 is. The overlap losses weigh each image alike and cost nothing for
an empty mask predicted empty.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def bce_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy of each pixel.

    At least 0; ln 2 where the score is 0.

    >>> round(bce_loss(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)).item(), 4)
    0.6931
    """
    return functional.binary_cross_entropy_with_logits(logits, target)


def dice_loss(logits: Tensor, target: Tensor, smooth: float = 1.0) -> Tensor:
    """One minus the soft Dice overlap of each image.

    Unlike pixel-wise cross-entropy it weighs a small object as much as a large one.

    Args:
        smooth: Pixels added to both sides [px]; an empty mask predicted empty then costs 0, not 0/0.

    In [0, 1]; 0 is a perfect overlap.

    Reference:
        Milletari et al. 2016, V-Net, https://arxiv.org/abs/1606.04797. Theirs squares p and t; ours does not.

    >>> left = torch.tensor([[[[20.0, 20.0, -20.0, -20.0]]]])  # the mask covers the left half
    >>> targets = {"same": [1, 1, 0, 0], "half": [1, 0, 0, 0], "opposite": [0, 0, 1, 1]}
    >>> {k: round(dice_loss(left, torch.tensor([[[t]]]).float()).item(), 2) for k, t in targets.items()}
    {'same': 0.0, 'half': 0.25, 'opposite': 0.8}
    """
    overlap, only_pred, only_target = _soft_counts(logits, target)
    return (1 - (2 * overlap + smooth) / (2 * overlap + only_pred + only_target + smooth)).mean()


def iou_loss(logits: Tensor, target: Tensor, smooth: float = 1.0) -> Tensor:
    """One minus the soft intersection over union of each image.

    Args:
        smooth: Pixels added to both sides [px]; an empty mask predicted empty then costs 0, not 0/0.

    In [0, 1]; 0 is a perfect overlap.

    Reference:
        Rahman and Wang 2016, https://doi.org/10.1007/978-3-319-50835-1_22, with `smooth` added.

    >>> left = torch.tensor([[[[20.0, 20.0, -20.0, -20.0]]]])
    >>> round(iou_loss(left, torch.tensor([[[[1.0, 0, 0, 0]]]])).item(), 4)  # 1 - (1 + 1) / (2 + 1)
    0.3333
    """
    overlap, only_pred, only_target = _soft_counts(logits, target)
    return (1 - (overlap + smooth) / (overlap + only_pred + only_target + smooth)).mean()


def tversky_loss(logits: Tensor, target: Tensor, alpha: float = 0.3, beta: float = 0.7, smooth: float = 1.0) -> Tensor:
    """Dice that punishes missed pixels more than false ones.

    Args:
        alpha: Weight of false positives.
        beta: Weight of false negatives; alpha = beta = 0.5 is Dice with half of `smooth`.
        smooth: Pixels added to both sides [px].

    In [0, 1]; 0 is a perfect overlap.

    Reference:
        Salehi et al. 2017, https://arxiv.org/abs/1706.05721, equation 2, with `smooth` added.

    >>> left = torch.tensor([[[[20.0, 20.0, -20.0, -20.0]]]])
    >>> round(tversky_loss(left, torch.tensor([[[[1.0, 0, 0, 0]]]])).item(), 4)  # 1 - 2 / (2 + 0.3)
    0.1304
    >>> round(tversky_loss(left, torch.tensor([[[[1.0, 1, 1, 0]]]])).item(), 4)  # 1 - 3 / (3 + 0.7)
    0.1892
    """
    overlap, only_pred, only_target = _soft_counts(logits, target)
    return (1 - (overlap + smooth) / (overlap + alpha * only_pred + beta * only_target + smooth)).mean()


def focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy that fades where the estimate is already good.

    At least 0; several times smaller than cross-entropy.

    Reference:
        Lin et al. 2017, https://arxiv.org/abs/1708.02002, equation 5 with their alpha 0.25 and gamma 2.

    >>> round(focal_loss(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)).item(), 4)  # 0.25 * 0.5^2 * ln 2
    0.0433
    """
    from kornia.losses import binary_focal_loss_with_logits

    loss: Tensor = binary_focal_loss_with_logits(logits, target, alpha=0.25, gamma=2.0, reduction="mean")
    return loss


def lovasz_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Convex stand-in for the intersection over union of each image.

    At least 0; 0 where every score is right by 1 or more.

    Reference:
        Berman et al. 2018, https://arxiv.org/abs/1705.08790, section 3.1.

    >>> right_and_wrong = torch.tensor([[[[2.0, -1.0]]]])
    >>> lovasz_loss(right_and_wrong, torch.tensor([[[[1.0, 1.0]]]])).item()  # hinge error 2 on half of the union
    1.0
    """
    from kornia.losses import lovasz_hinge_loss

    loss: Tensor = lovasz_hinge_loss(logits, (target[:, 0] > 0.5).long())
    return loss


def boundary_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Absolute error weighed by the distance to the true edge: false pixels far from the object cost most.

    Its gradient at the edge itself is small: add it to a loss of regions, as in bce+boundary.

    In [0, 1]; 0 is a perfect overlap. A mask without an edge counts as one diagonal away from it.

    Reference:
        Kervadec et al. 2019, https://arxiv.org/abs/1812.07032, equation 5: the same gradient; theirs is shifted by a
        constant and below 0, and measures in pixels.

    >>> far_and_near = torch.tensor([[[[20.0, 20.0, -20.0, 20.0]]]])  # false alarms beside the object and two px away
    >>> round(boundary_loss(far_and_near, torch.tensor([[[[0.0, 0.0, 0.0, 1.0]]]])).item() * 4 * 17**0.5, 4)  # px
    4.0
    """
    is_object = target > 0.5
    return ((torch.sigmoid(logits) - is_object.to(logits)).abs() * _edge_distances(is_object).to(logits)).mean()


def hausdorff_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Squared error that is eroded again and again: what is left after many erosions was far off, and weighs most.

    A stand-in for the Hausdorff distance without a unit; a hundred times the cost of cross-entropy.

    At least 0; 0 where no error outlives the first erosion.

    Reference:
        Karimi and Salcudean 2019, https://arxiv.org/abs/1904.10030, section II.B.2, as kornia has it.

    >>> nothing = torch.full((1, 1, 5, 5), -20.0)
    >>> hausdorff_loss(nothing, torch.zeros(1, 1, 5, 5)).item()
    0.0
    """
    # The erosions alone: what kornia checks before looks at a value, for which the device would have to wait.
    erode = _hausdorff(logits.dtype, logits.device).perform_erosion
    prob, is_object = torch.sigmoid(logits), target > 0.5
    eroded: list[Tensor] = [erode(1 - prob, (~is_object).to(prob)), erode(prob, is_object.to(prob))]
    return torch.stack(eroded).mean()


@lru_cache(maxsize=8)
def _hausdorff(dtype: torch.dtype, device: torch.device) -> Any:
    from kornia.losses import HausdorffERLoss

    # A kernel first made during evaluation, in inference mode, could not be used in training afterwards.
    with torch.inference_mode(False):
        return HausdorffERLoss().to(device, dtype)


def _edge_distances(masks: Tensor) -> Tensor:
    """Measure how far each pixel's middle is from the edge of its mask, which runs between pixels.

    Args:
        masks: (B, 1, H, W) bool.

    Returns:
        (B, 1, H, W) float64, shares of the diagonal; 1 where the mask has no edge.
    """
    # Both are exact. On the CPU that of scipy is faster, elsewhere the masks would have to come over.
    between = _measure_with_scipy(masks) if masks.device.type == "cpu" else measure_on_device(masks)
    return between.div_(math.hypot(*masks.shape[-2:])).masked_fill_(between.isinf(), 1)


def _measure_with_scipy(masks: Tensor) -> Tensor:
    """Do on the CPU what `measure_on_device` does."""
    from scipy.ndimage import distance_transform_edt

    distances = np.full(masks.shape, np.inf)
    for distance, mask in zip(distances, masks.numpy(), strict=True):
        if mask.any() and not mask.all():
            distance[0] = distance_transform_edt(mask[0]) + distance_transform_edt(~mask[0]) - 0.5
    return torch.from_numpy(distances)


def measure_on_device(masks: Tensor) -> Tensor:
    """Measure the distance of each pixel's middle to the edge of its mask, without a look at a value.

    Args:
        masks: (B, 1, H, W) bool.

    Returns:
        (B, 1, H, W) float64 [px]; infinite where the mask has no edge.

    Reference:
        Felzenszwalb and Huttenlocher 2012, https://doi.org/10.4086/toc.2012.v008a019: first along the columns, then
        along the rows, here with a look at every pixel of a row.

    >>> measure_on_device(torch.tensor([[[[True, True, False]]]])).tolist()
    [[[[1.5, 0.5, 0.5]]]]
    """
    height, width = masks.shape[-2:]
    rows = torch.arange(height, dtype=torch.float32, device=masks.device)[:, None]
    columns = torch.arange(width, dtype=torch.float32, device=masks.device)
    both = torch.stack([masks, ~masks])
    # How far the nearest false pixel of the column is, whole numbers, which float32 holds exactly.
    above = rows - rows.masked_fill(both, -math.inf).cummax(-2).values
    below = rows.masked_fill(both, math.inf).flip(-2).cummin(-2).values.flip(-2) - rows
    squares = torch.minimum(above, below).square()
    nearest = torch.full_like(squares, math.inf)
    for column in range(width):
        nearest = torch.minimum(nearest, squares[..., column, None] + (columns - column).square())
    return nearest.double().sqrt().sum(0) - 0.5


def _soft_counts(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count true positives, false positives and false negatives of each image, softly: three of (B,) [px]."""
    prob, target = torch.sigmoid(logits).flatten(1), target.flatten(1)
    overlap = (prob * target).sum(1)
    return overlap, prob.sum(1) - overlap, target.sum(1) - overlap
