"""Losses of the depth head alone: relative depth in [0, 1], 0 near and 1 far.

Every loss takes float32 or float64 maps and returns the mean over the batch; its formula stands on the third line of
its docstring, with p the estimate and t the truth. Losses with a logarithm floor both maps at 0.01, and the relative
ones leave maps flatter than 0.001 as they are: an 8-bit label knows nothing finer.
"""

import torch
from torch import Tensor
from torch.nn import functional

from maskdepth.losses.maps import ROOT_FLOOR, total_slope

MIN_DEPTH = 0.01  # under ratios and logarithms; what DenseDepth clips its labels to
FLAT = 1e-3  # a map whose deviation is below this has no scale to align
GRADIENT_SCALES = 4


def berhu_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Absolute error that turns squared for the large errors: the reverse of Huber.

    BerHu = mean of r where r = |p - t| <= c, else (r^2 + c^2) / (2c), with c = 0.2 * max r of the image

    Args:
        pred: (B, 1, H, W) estimated depth, [0, 1].
        target: (B, 1, H, W) true depth, [0, 1].

    Returns:
        () mean loss, at least 0; 0 for equal maps.

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

    BCE = mean of -t * ln(p) - (1 - t) * ln(1 - p)

    Args:
        pred: (B, 1, H, W) estimated depth, [0, 1].
        target: (B, 1, H, W) true depth, [0, 1].
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

    Dice = mean of 1 - (2 * sum(p * t) + 1) / (sum(p) + sum(t) + 1)

    Not made for grey values: it is least where p is 1 wherever t is above half of the Dice, and 0 elsewhere.

    Args:
        pred: (B, 1, H, W) estimated depth, [0, 1].
        target: (B, 1, H, W) true depth, [0, 1].
        smooth: Pixels added to both sides [px].

    Returns:
        () mean loss, [0, 1]; the truth itself costs about 1 - sum(t^2) / sum(t).

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

    SILog = mean over images of sqrt(mean g^2 - 0.85 * (mean g)^2), g = ln(p) - ln(t), both floored at 0.01

    Args:
        pred: (B, 1, H, W) estimated depth, [0, 1].
        target: (B, 1, H, W) true depth, [0, 1].
        share: How much of a wrong overall scale is forgiven; 0 is RMSE of logarithms, 1 forgives all.

    Returns:
        () mean loss, [0, 4.61]; 1e-6 for equal maps, where a plain root has no gradient.

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

    SSI = mean over images of min over s, b of mean (s * p + b - t)^2 / 2

    Args:
        pred: (B, 1, H, W) estimated depth, any scale.
        target: (B, 1, H, W) true depth, [0, 1].

    Returns:
        () mean loss, [0, 0.125]; 0 where the estimate is the truth up to scale and shift, also a negative one.

    Reference:
        Ranftl et al. 2020, MiDaS, https://arxiv.org/abs/1907.01341, equations 2 to 4.

    >>> ramp = torch.tensor([[[[0.0, 0.25, 0.5]]]])
    >>> ssi_loss(ramp, 1 - 2 * ramp).item()
    0.0
    """
    return (align(pred, target) - target).square().mean() / 2


def ssi_mae_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Absolute error after each map is centred on its median and divided by its mean deviation.

    SSIMAE = mean |n(p) - n(t)|, n(x) = (x - median x) / mean |x - median x| of the image

    Args:
        pred: (B, 1, H, W) estimated depth, any scale.
        target: (B, 1, H, W) true depth, [0, 1].

    Returns:
        () mean loss, [0, 2]; 0 where the estimate is the truth up to a positive scale and a shift.

    Reference:
        Ranftl et al. 2020, MiDaS, https://arxiv.org/abs/1907.01341, equations 5 and 6, untrimmed.

    >>> ramp = torch.tensor([[[[0.0, 0.25, 0.5]]]])
    >>> ssi_mae_loss(ramp, 0.1 + 1.5 * ramp).item() < 1e-6
    True
    """
    return (_centred_by_median(pred) - _centred_by_median(target)).abs().mean()


def multiscale_gradient_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Difference of the slopes at four scales, after the best scale and shift of each image.

    GradientMS = mean over images of sum over k = 0..3 of mean (|dx r| + |dy r|), r = s * p + b - t, every 2^k-th pixel

    Args:
        pred: (B, 1, H, W) estimated depth, any scale.
        target: (B, 1, H, W) true depth, [0, 1].

    Returns:
        () mean loss, at least 0; 0 where the estimate is the truth up to scale and shift.

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

    TV = mean (|dx p| + |dy p|), forward differences; the truth plays no part

    Args:
        pred: (B, 1, H, W) estimated depth, [0, 1].
        target: (B, 1, H, W) true depth, not looked at.

    Returns:
        () mean loss, [0, 2]; 0 for a flat map.

    Reference:
        Rudin et al. 1992, https://doi.org/10.1016/0167-2789(92)90242-F, the anisotropic form.

    >>> step = torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])
    >>> total_variation_loss(step, step).item()
    0.5
    """
    return total_slope(pred).mean() / target[0].numel()


def align(pred: Tensor, target: Tensor) -> Tensor:
    """Give each map the scale and shift that fit its truth best, by least squares.

    Args:
        pred: (B, 1, H, W) estimated depth, any scale.
        target: (B, 1, H, W) true depth, [0, 1].

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
    return mean + centred * covariance / variance.clamp(min=FLAT**2)


def _centred_by_median(depth: Tensor) -> Tensor:
    """Subtract the median of each map and divide by the mean distance from it: (B, H*W)."""
    flat = depth.flatten(1)
    centred = flat - flat.median(1, keepdim=True).values
    return centred / centred.abs().mean(1, keepdim=True).clamp(min=FLAT)
