"""Losses between two maps in [0, 1]: they serve depth maps and mask probabilities alike.

Every loss takes the estimate and the truth, (B, 1, H, W) each, float32 or float64, and returns the mean over the batch,
(). Its formula stands in the tables of `names`, with p the estimate and t the truth. It is finite, with finite
gradients, at p = t.
"""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from maskdepth.losses.ssim import ssim

# Under a square root: without it the gradient at zero error is 0/0. Far below any error that matters.
ROOT_FLOOR = 1e-12
LAPLACIAN_LEVELS = 4


def l1_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error.

    In [0, 1]; 0 for equal maps.

    >>> l1_loss(torch.tensor([0.0, 0.5]), torch.tensor([0.0, 1.0])).item()
    0.25
    """
    return functional.l1_loss(pred, target)


def mse_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Mean squared error.

    In [0, 1]; 0 for equal maps.

    >>> mse_loss(torch.tensor([0.0, 0.5]), torch.tensor([0.0, 1.0])).item()
    0.125
    """
    return functional.mse_loss(pred, target)


def rmse_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Root of the mean squared error over the whole batch.

    In [0, 1]; 1e-6 for equal maps, where a plain root has no gradient.

    >>> round(rmse_loss(torch.tensor([0.0, 0.5]), torch.tensor([0.5, 1.0])).item(), 4)
    0.5
    """
    return (functional.mse_loss(pred, target) + ROOT_FLOOR).sqrt()


def smooth_l1_loss(pred: Tensor, target: Tensor, beta: float = 0.1) -> Tensor:
    """Squared below an error of beta, absolute above.

    Args:
        beta: Where the two halves meet. The usual 1.0 would make this MSE / 2 on maps in [0, 1].

    In [0, 0.95]; 0 for equal maps.

    Reference:
        Girshick 2015, Fast R-CNN, https://arxiv.org/abs/1504.08083, equation 3, with beta.

    >>> round(smooth_l1_loss(torch.tensor([0.05, 1.0]), torch.zeros(2)).item(), 6)  # (0.0125 + 0.95) / 2
    0.48125
    """
    return functional.smooth_l1_loss(pred, target, beta=beta)


def huber_loss(pred: Tensor, target: Tensor, delta: float = 0.1) -> Tensor:
    """Squared below an error of delta, absolute above: SmoothL1 in the units of the squared error.

    Args:
        delta: Where the two halves meet.

    In [0, 0.095]; 0 for equal maps; delta times SmoothL1 with the same bound.

    Reference:
        Huber 1964, https://doi.org/10.1214/aoms/1177703732.

    >>> round(huber_loss(torch.tensor([0.05, 1.0]), torch.zeros(2)).item(), 6)  # (0.00125 + 0.095) / 2
    0.048125
    """
    return functional.huber_loss(pred, target, delta=delta)


def charbonnier_loss(pred: Tensor, target: Tensor, scale: float = 0.05) -> Tensor:
    """Absolute error with a smooth foot.

    Args:
        scale: Error below which the loss is nearly squared. At 1.0 it would be MSE / 2 on maps in [0, 1].

    In [0, 0.951]; 0 for equal maps.

    Reference:
        Charbonnier et al. 1994, https://doi.org/10.1109/ICIP.1994.413553; made 0 at no error.

    >>> round(charbonnier_loss(torch.tensor([0.12]), torch.zeros(1)).item(), 6)  # 0.13 - 0.05
    0.08
    """
    return ((pred - target).square() + scale**2).sqrt().mean() - scale


def gradient_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Difference of the slopes: edges must lie in the same places.

    In [0, 4]; 0 for equal maps and for maps that differ by a constant.

    Reference:
        Alhashim and Wonka 2018, DenseDepth, https://arxiv.org/abs/1812.11941, equation 3.

    >>> step = torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])
    >>> gradient_loss(step, torch.zeros_like(step)).item()  # 2 slopes of 1 among 4 pixels
    0.5
    """
    return total_slope(pred - target).mean() / pred[0].numel()


def laplacian_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Absolute error of each level of a Laplacian pyramid, the coarse levels weighing more.

    At least 0; 0 for equal maps.

    Reference:
        Niklaus and Liu 2018, https://arxiv.org/abs/1803.10967, equation 3. Theirs blurs with a Gaussian and drops the
        rest; ours takes means of 2 x 2 pixels, which is far faster, and keeps the rest, so that an offset costs.

    >>> stripes = torch.tensor([0.0, 1.0]).repeat(1, 1, 8, 4)  # L_0 is 0.5 everywhere, the rest is 0.5 everywhere
    >>> laplacian_loss(stripes, torch.zeros_like(stripes)).item()  # (1 * 0.5 + 8 * 0.5) / 4
    1.125
    """
    rest, weighted = pred - target, []  # linear, so one pyramid does for both
    for level in range(LAPLACIAN_LEVELS - 1):
        coarse = functional.avg_pool2d(rest, 2, ceil_mode=True)
        expanded = functional.interpolate(coarse, scale_factor=2.0)[..., : rest.shape[-2], : rest.shape[-1]]
        weighted.append(2**level * (rest - expanded).abs().mean((1, 2, 3)))
        rest = coarse
    weighted.append(2 ** (LAPLACIAN_LEVELS - 1) * rest.abs().mean((1, 2, 3)))
    return torch.stack(weighted).sum(0).mean() / LAPLACIAN_LEVELS


def ssim_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Structural dissimilarity, the standard one.

    In [0, 1]; 0 for equal maps.

    Raises:
        ValueError: The maps are smaller than the window.

    Reference:
        Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861, equation 13.

    >>> flat = torch.full((1, 1, 11, 11), 0.5)
    >>> ssim_loss(flat, flat).item()
    0.0
    """
    return (1 - ssim(pred, target).mean()) / 2


def ms_ssim_l1_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Structural dissimilarity at five scales, with the absolute error under the widest of them.

    The scales are Gaussians at full resolution, windows of 33 px with zeros outside the map; a hundred times the cost
    of the plain SSIM.

    In [0, 1]; 0 for equal maps.

    Reference:
        Zhao et al. 2017, https://arxiv.org/abs/1511.08861, section III.D, as kornia has it, without its factor 200.

    >>> flat = torch.full((1, 1, 64, 64), 0.5)
    >>> ms_ssim_l1_loss(flat, flat).item()
    0.0
    """
    loss: Tensor = _ms_ssim_l1(pred.dtype, pred.device)(pred, target)
    return loss


@lru_cache(maxsize=8)
def _ms_ssim_l1(dtype: torch.dtype, device: torch.device) -> torch.nn.Module:
    from kornia.losses import MS_SSIMLoss

    # Windows first made during evaluation, in inference mode, could not be used in training afterwards.
    with torch.inference_mode(False):
        return MS_SSIMLoss(compensation=1.0).to(device, dtype)


def total_slope(image: Tensor) -> Tensor:
    """Sum of the absolute forward differences of each map: sum of |dx| + |dy|.

    Args:
        image: (B, 1, H, W) maps.

    Returns:
        (B,) sums; the last column and row have no slope of their own.

    >>> total_slope(torch.tensor([[[[0.0, 1.0, 3.0]]]])).tolist()
    [3.0]
    """
    across = image.diff(dim=-1).abs().flatten(1).sum(1)
    down = image.diff(dim=-2).abs().flatten(1).sum(1)
    return across + down
