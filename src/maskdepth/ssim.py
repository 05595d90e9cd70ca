"""Structural similarity of two maps in [0, 1], as matrix products.

The window slides as two products with a banded matrix, A X A^T: no padding, hence deterministic on every device, and
several times faster than a convolution. Call it with autocast off: half precision loses the variances.
"""

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

WINDOW = 11  # [px] the window of the paper
SIGMA = 1.5  # [px]
C1, C2 = 0.01**2, 0.03**2  # (K * L)^2 for the range L = 1

Border = Literal["valid", "zero"]


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
    return ssim_map(pred, target, WINDOW, "valid").flatten(1).mean(1)


def ssim_map(pred: Tensor, target: Tensor, window_size: int, border: Border) -> Tensor:
    """Structural similarity of each position of the window.

    Args:
        pred: (B, 1, H, W) estimate, [0, 1].
        target: (B, 1, H, W) truth, [0, 1].
        window_size: Side of the Gaussian window, odd [px]; sigma stays 1.5.
        border: "valid" keeps the window inside the map; "zero" centres it on every pixel, with zeros outside.

    Returns:
        (B, 1, H - window_size + 1, W - window_size + 1) for "valid", (B, 1, H, W) for "zero"; [-1, 1].

    Raises:
        ValueError: The maps are smaller than the window.
    """
    height, width = pred.shape[-2:]
    if min(height, width) < window_size:
        raise ValueError(
            f"SSIM with a window of {window_size} px needs maps of at least {window_size} px a side, "
            f"found {height} x {width}; use larger images or another loss"
        )
    rows = _window_matrix(height, window_size, border, pred.dtype, pred.device)
    columns = _window_matrix(width, window_size, border, pred.dtype, pred.device)
    # Only the sum of the variances is needed, so four moments do instead of five.
    moments = torch.stack([pred, target, pred.square() + target.square(), pred * target])  # (4, B, 1, H, W)
    mean_pred, mean_target, squares, product = rows @ moments @ columns.T
    mean_squares = mean_pred.square() + mean_target.square()
    mean_product = mean_pred * mean_target
    luminance = (2 * mean_product + C1) / (mean_squares + C1)
    structure = (2 * (product - mean_product) + C2) / (squares - mean_squares + C2)
    return luminance * structure


@lru_cache(maxsize=32)
def _window_matrix(size: int, window_size: int, border: Border, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Row i holds the normalised Gaussian taps of the window's i-th place along a side of `size` pixels.

    A square matrix ("zero") simply cuts the taps that would fall outside, which is what zero padding does.
    """
    radius = window_size // 2
    # A tensor first made during evaluation, in inference mode, could not be used in training afterwards.
    with torch.inference_mode(False):
        pixels = torch.arange(size, dtype=torch.float64)
        centres = pixels if border == "zero" else pixels[radius : size - radius]
        distance = pixels - centres[:, None]  # (places, size)
        taps = torch.exp(-(distance**2) / (2 * SIGMA**2)) * (distance.abs() <= radius)
        total = torch.exp(-(torch.arange(-radius, radius + 1, dtype=torch.float64) ** 2) / (2 * SIGMA**2)).sum()
        return (taps / total).to(device, dtype)
