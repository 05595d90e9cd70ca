"""Losses of the depth head alone: relative depth in [0, 1], 0 near and 1 far.

Every loss takes the estimated and the true depth, (B, 1, H, W) each, float32 or float64, and returns the mean over the
batch, (). Its formula stands in the tables of `names`, with p the estimate and t the truth. Losses with a logarithm
floor both maps at 0.01, and the relative ones, which take an estimate of any scale, leave maps flatter than 0.001 as
they are: an 8-bit label knows nothing finer.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from maskdepth.losses.maps import ROOT_FLOOR, total_slope

MIN_DEPTH = 0.01  # under ratios and logarithms; what DenseDepth clips its labels to
FLAT = 1e-3  # a map whose deviation is below this has no scale to align
GRADIENT_SCALES = 4


def berhu_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Absolute error that turns squared for the large errors: the reverse of Huber.

    At least 0; 0 for equal maps.

    Reference:
        Laina et al. 2016, https://arxiv.org/abs/1606.00373, equation 1. Their c is of the batch; ours is of the image,
        so that an image costs the same in any batch.

    >>> pred = torch.tensor([[[[0.1, 1.0]]]])
    >>> round(berhu_loss(pred, torch.zeros_like(pred)).item(), 4)  # c = 0.2: (0.1 + (1 + 0.04) / 0.4) / 2
    1.35
    """
    error = (pred - target).abs()
    # c is where the branches meet, not something to learn: its own gradient would reward a larger worst error.
    bound = (0.2 * error.detach().amax((1, 2, 3), keepdim=True)).clamp(min=ROOT_FLOOR)
    return torch.where(error <= bound, error, (error.square() + bound.square()) / (2 * bound)).mean()


def bce_depth_loss(pred: Tensor, target: Tensor, margin: float = 1e-4) -> Tensor:
    """Cross-entropy, the depth read as the probability of being far.

    Args:
        margin: The estimate is squeezed into [margin, 1 - margin]: a logarithm stays finite and keeps its gradient.

    Returns:
        () mean loss; its least value is the entropy of the target, not 0.

    >>> round(bce_depth_loss(torch.tensor([0.5]), torch.tensor([0.5])).item(), 4)
    0.6931
    """
    # Through the logit: the cross-entropy of probabilities raises where the estimate is not a number, which is for the
    # training to report, as it knows the step and the samples.
    logits = torch.logit(margin + (1 - 2 * margin) * pred)
    return functional.binary_cross_entropy_with_logits(logits, target)


def dice_depth_loss(pred: Tensor, target: Tensor, smooth: float = 1.0) -> Tensor:
    """One minus the soft Dice overlap of each image, the depth read as the probability of being far.

    Not made for grey values: it is least where p is 1 wherever t is above half of the Dice, and 0 elsewhere.

    Args:
        smooth: Pixels added to both sides [px].

    In [0, 1]; the truth itself costs about 1 - sum(t^2) / sum(t).

    Reference:
        Milletari et al. 2016, V-Net, https://arxiv.org/abs/1606.04797; mshilpaa tried it for depth,
        https://github.com/mshilpaa/EVA4.

    >>> half = torch.full((1, 1, 10, 10), 0.5)
    >>> round(dice_depth_loss(half, half).item(), 4)  # 1 - (2 * 25 + 1) / (100 + 1)
    0.495
    """
    pred, target = pred.flatten(1), target.flatten(1)
    overlap = (pred * target).sum(1)
    return (1 - (2 * overlap + smooth) / (pred.sum(1) + target.sum(1) + smooth)).mean()


def silog_loss(pred: Tensor, target: Tensor, share: float = 0.85) -> Tensor:
    """Error of the logarithms, most of a common factor forgiven.

    Args:
        share: How much of a wrong overall scale is forgiven; 0 is RMSE of logarithms, 1 forgives all.

    In [0, 4.61]; 1e-6 for equal maps, where a plain root has no gradient.

    Reference:
        Eigen et al. 2014, https://arxiv.org/abs/1406.2283, equation 4, with the root and the share of
        Lee et al. 2019, https://arxiv.org/abs/1907.10326, equation 5, without its factor 10.

    >>> half = torch.full((1, 1, 2, 2), 0.5)
    >>> round(silog_loss(half, half / 2).item(), 4)  # ln 2 * sqrt(1 - 0.85)
    0.2685
    """
    gap = pred.clamp(min=MIN_DEPTH).log() - target.clamp(min=MIN_DEPTH).log()
    gap = gap.flatten(1)
    return (gap.square().mean(1) - share * gap.mean(1).square() + ROOT_FLOOR).sqrt().mean()


def ssi_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Squared error after the best scale and shift of each image.

    In [0, 0.125]; 0 where the estimate is the truth up to scale and shift, also a negative one.

    Reference:
        Ranftl et al. 2020, MiDaS, https://arxiv.org/abs/1907.01341, equations 2 to 4.

    >>> ramp = torch.tensor([[[[0.0, 0.25, 0.5]]]])
    >>> ssi_loss(ramp, 1 - 2 * ramp).item()
    0.0
    """
    return (align(pred, target) - target).square().mean() / 2


def ssi_mae_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Absolute error after each map is centred on its median and divided by its mean deviation.

    In [0, 2]; 0 where the estimate is the truth up to a positive scale and a shift.

    Reference:
        Ranftl et al. 2020, MiDaS, https://arxiv.org/abs/1907.01341, equations 5 and 6, untrimmed.

    >>> ramp = torch.tensor([[[[0.0, 0.25, 0.5]]]])
    >>> ssi_mae_loss(ramp, 0.1 + 1.5 * ramp).item() < 1e-6
    True
    """
    return (_centred_by_median(pred) - _centred_by_median(target)).abs().mean()


def multiscale_gradient_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Difference of the slopes at four scales, after the best scale and shift of each image.

    At least 0; 0 where the estimate is the truth up to scale and shift.

    Reference:
        Ranftl et al. 2020, MiDaS, https://arxiv.org/abs/1907.01341, equation 11; scales by taking every 2^k-th pixel.

    >>> ramp = torch.tensor([[[[0.0, 0.25, 0.5]]]])
    >>> multiscale_gradient_loss(ramp, 1 - 2 * ramp).item()
    0.0
    """
    error = align(pred, target) - target
    scales = [error[..., :: 2**k, :: 2**k] for k in range(GRADIENT_SCALES)]
    return torch.stack([total_slope(scale).mean() / scale[0].numel() for scale in scales]).sum()


def total_variation_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Slopes of the estimate itself: a smoother to add to other losses; alone it makes the map flat.

    In [0, 2]; 0 for a flat map.

    Reference:
        Rudin et al. 1992, https://doi.org/10.1016/0167-2789(92)90242-F, the anisotropic form.

    >>> step = torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])
    >>> total_variation_loss(step, step).item()
    0.5
    """
    return total_slope(pred).mean() / target[0].numel()


def align(pred: Tensor, target: Tensor, least_scale: float = -math.inf) -> Tensor:
    """Give each map the scale and shift that fit its truth best, by least squares.

    Args:
        pred: (B, 1, H, W) estimated depth, any scale.
        target: (B, 1, H, W) true depth, [0, 1].
        least_scale: Bound of the scale. At 0 an estimate that takes near for far becomes flat; a loss sets none, as
            from there no gradient leads away.

    Returns:
        (B, 1, H, W) aligned depth; a flat estimate becomes the mean of its truth.

    >>> align(torch.tensor([[[[0.0, 1.0]]]]), torch.tensor([[[[0.5, 0.75]]]])).flatten().tolist()
    [0.5, 0.75]
    """
    dims = (1, 2, 3)
    mean = target.mean(dims, keepdim=True)
    centred = pred - pred.mean(dims, keepdim=True)
    covariance = (centred * (target - mean)).mean(dims, keepdim=True)
    variance = centred.square().mean(dims, keepdim=True)
    scale = (covariance / variance.clamp(min=FLAT**2)).clamp(min=least_scale)
    return mean + centred * scale


def _centred_by_median(depth: Tensor) -> Tensor:
    """Subtract the median of each map and divide by the mean distance from it: (B, H*W)."""
    flat = depth.flatten(1)
    centred = flat - flat.median(1, keepdim=True).values
    return centred / centred.abs().mean(1, keepdim=True).clamp(min=FLAT)
