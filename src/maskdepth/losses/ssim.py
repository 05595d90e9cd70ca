"""Structural similarity of two maps in [0, 1], as matrix products.

The window slides as two products with a banded matrix, A X A^T: no padding, hence deterministic on every device, and
several times faster than a convolution. Call it with autocast off and torch's float32 products as exact as they are by
default: a variance is a small difference of large numbers, and neither half precision nor TensorFloat-32 leaves much of
it.
"""

from functools import lru_cache

import torch
from torch import Tensor

WINDOW = 11  # [px] the window of the paper
SIGMA = 1.5  # [px]
C1, C2 = 0.01**2, 0.03**2  # (K * L)^2 for the range L = 1


def ssim(pred: Tensor, target: Tensor) -> Tensor:
    """Mean structural similarity of each pair of maps.

    SSIM = mean of (2 m_p m_t + C1)(2 s_pt + C2) / ((m_p^2 + m_t^2 + C1)(s_p^2 + s_t^2 + C2)), with means m, variances
    s^2 and covariance s_pt under an 11 px Gaussian window of sigma 1.5 that stays inside the map.

    Args:
        pred: (B, 1, H, W) estimate, [0, 1], float32 or float64; at least 11 px a side.
        target: (B, 1, H, W) truth, [0, 1].

    Returns:
        (B,) similarity, [-1, 1]; 1 for equal maps.

    Raises:
        ValueError: The maps are smaller than the window.

    Reference:
        Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861, equation 13. Equal to scikit-image with
        gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.

    >>> flat = torch.full((1, 1, 11, 11), 0.5, dtype=torch.float64)
    >>> ssim(flat, flat).item()
    1.0
    >>> round(ssim(flat, flat + 0.1).item(), 6)  # by hand: (2 * 0.5 * 0.6 + C1) / (0.5^2 + 0.6^2 + C1)
    0.983609
    """
    return ssim_map(pred, target, WINDOW).flatten(1).mean(1)


def ssim_map(pred: Tensor, target: Tensor, window_size: int) -> Tensor:
    """Structural similarity at each place of the window inside the map.

    Args:
        pred: (B, 1, H, W) estimate, [0, 1], float32 or float64.
        target: (B, 1, H, W) truth, [0, 1].
        window_size: Side of the Gaussian window, odd [px]; sigma stays 1.5.

    Returns:
        (B, 1, H - window_size + 1, W - window_size + 1) similarity, [-1, 1].

    Raises:
        ValueError: The maps are smaller than the window.
    """
    height, width = pred.shape[-2:]
    if min(height, width) < window_size:
        raise ValueError(
            f"SSIM with a window of {window_size} px needs maps of at least {window_size} px a side, "
            f"found {height} x {width}; use larger images or another loss"
        )
    rows = window_matrix(height, window_size, pred.dtype, pred.device)
    columns = window_matrix(width, window_size, pred.dtype, pred.device)
    centre_pred, pred_centred = _centre(pred)
    centre_target, target_centred = _centre(target.to(pred.dtype))
    # Only the sum of the variances is needed, so four moments do instead of five.
    squares = pred_centred.square() + target_centred.square()
    moments = torch.stack([pred_centred, target_centred, squares, pred_centred * target_centred])  # (4, B, 1, H, W)
    mean_pred, mean_target, mean_squares, mean_product = (rows @ moments @ columns.T).unbind()
    variances = mean_squares - mean_pred.square() - mean_target.square()
    covariance = mean_product - mean_pred * mean_target
    mean_pred, mean_target = mean_pred + centre_pred, mean_target + centre_target
    luminance = (2 * mean_pred * mean_target + C1) / (mean_pred.square() + mean_target.square() + C1)
    return luminance * (2 * covariance + C2) / (variances + C2)


def _centre(image: Tensor) -> tuple[Tensor, Tensor]:
    """Split each map into its mean and the rest: the variance of small numbers loses no digits in float32."""
    centre = image.mean((1, 2, 3), keepdim=True)
    return centre, image - centre


@lru_cache(maxsize=32)
def window_matrix(size: int, window_size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Row i holds the normalised Gaussian taps of the window's i-th place: (size - window_size + 1, size)."""
    radius = window_size // 2
    # A tensor first made during evaluation, in inference mode, could not be used in training afterwards.
    with torch.inference_mode(False):
        pixels = torch.arange(size, dtype=torch.float64)
        distance = pixels - pixels[radius : size - radius, None]
        taps = torch.exp(-(distance**2) / (2 * SIGMA**2)) * (distance.abs() <= radius)
        return (taps / taps.sum(1, keepdim=True)).to(device, dtype)
