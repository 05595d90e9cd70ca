"""Losses of the student projects, to reproduce their runs only; the core does not use them.

They take and return what those of `maps` and `mask` do.
"""

import torch
from torch import Tensor
from torch.nn import functional

from maskdepth.losses.ssim import ssim_map


def ssim_w3_kornia03_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Structural dissimilarity as kornia 0.3 had it, window 3: to reproduce old results only.

    In [0, 0.5]; 0 for equal maps. Its values do not compare with those of any other SSIM.
    """
    return _kornia03_loss(pred, target, 3)


def ssim_w5_kornia03_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Structural dissimilarity as kornia 0.3 had it, window 5: to reproduce old results only.

    In [0, 0.5]; 0 for equal maps. Its values do not compare with those of any other SSIM.
    """
    return _kornia03_loss(pred, target, 5)


def ssim_w11_kornia03_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Structural dissimilarity as kornia 0.3 had it, window 11: to reproduce old results only.

    In [0, 0.5]; 0 for equal maps. Its values do not compare with those of any other SSIM.
    """
    return _kornia03_loss(pred, target, 11)


def kornia03_ssim_map(pred: Tensor, target: Tensor, window_size: int) -> Tensor:
    """Structural similarity around every pixel, zeros outside the map, cut to [0, 1].

    Args:
        pred: (B, 1, H, W) estimate, [0, 1].
        target: (B, 1, H, W) truth, [0, 1].
        window_size: Side of the Gaussian window, odd [px].

    Returns:
        (B, 1, H, W) similarity, [0, 1].

    Reference:
        kornia 0.3, https://github.com/kornia/kornia, losses/ssim.py; later versions reflect the map at its border.
    """
    around = (window_size // 2,) * 4
    return ssim_map(functional.pad(pred, around), functional.pad(target, around), window_size).clamp(0, 1)


def _kornia03_loss(pred: Tensor, target: Tensor, window_size: int) -> Tensor:
    return (1 - kornia03_ssim_map(pred, target, window_size).mean()) / 2


# Of the masks of sajnanshetty, https://github.com/sajnanshetty/deep-learning, on the [0, 1] scale.
SAJNANSHETTY_MASK_MEAN, SAJNANSHETTY_MASK_STD = 0.05790501832962036, 0.22068527340888977


def bce_zscored_mask_loss(logits: Tensor, target: Tensor) -> Tensor:
    """The published loss of sajnanshetty: sigmoid taken twice, target z-scored; to reproduce it only.

    Unbounded below: with targets outside [0, 1] this is no cross-entropy. It pulls p to 0 or 1.

    Reference:
        https://github.com/sajnanshetty/deep-learning; the constants are the mean and deviation of that data set.

    >>> round(bce_zscored_mask_loss(torch.full((1, 1, 1, 1), -40.0), torch.zeros(1, 1, 1, 1)).item(), 4)  # ln 2
    0.6931
    """
    zscored = (target - SAJNANSHETTY_MASK_MEAN) / SAJNANSHETTY_MASK_STD
    return functional.binary_cross_entropy_with_logits(torch.sigmoid(logits), zscored)


# Of the depth maps of sajnanshetty, https://github.com/sajnanshetty/deep-learning, on the [0, 1] scale.
SAJNANSHETTY_DEPTH_MEAN, SAJNANSHETTY_DEPTH_STD = 0.40361160039901733, 0.19922664761543274


def bce_zscored_depth_loss(pred: Tensor, target: Tensor) -> Tensor:
    """The published loss of sajnanshetty: sigmoid taken twice, target z-scored; to reproduce it only.

    Unbounded below: with targets outside [0, 1] this is no cross-entropy. It pulls p to 0 or 1.

    Reference:
        https://github.com/sajnanshetty/deep-learning; the constants are the mean and deviation of that data set.

    >>> round(bce_zscored_depth_loss(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)).item(), 4)  # ln 2
    0.6931
    """
    zscored = (target - SAJNANSHETTY_DEPTH_MEAN) / SAJNANSHETTY_DEPTH_STD
    return functional.binary_cross_entropy_with_logits(pred, zscored)
