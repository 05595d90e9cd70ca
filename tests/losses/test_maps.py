"""Proves the losses between two maps on worked cases and against independent implementations."""

import pytest
import torch
from kornia.losses import MS_SSIMLoss
from torch.nn import functional

from maskdepth.losses.maps import (
    charbonnier_loss,
    gradient_loss,
    huber_loss,
    l1_loss,
    laplacian_loss,
    ms_ssim_l1_loss,
    rmse_loss,
    smooth_l1_loss,
    ssim_loss,
    total_slope,
)
from maskdepth.losses.students import (
    kornia03_ssim_map,
    ssim_w3_kornia03_loss,
    ssim_w5_kornia03_loss,
    ssim_w11_kornia03_loss,
)


def ramp_and_object():
    """A ramp of depth, and the same with a box at depth 0.2 in it: (1, 1, 64, 64), estimate first."""
    target = (torch.linspace(0, 1, 64, dtype=torch.float64) * 0.8 + 0.1)[:, None].expand(1, 1, 64, 64)
    pred = target.clone()
    pred[..., 20:44, 16:40] = 0.2
    return pred, target


def test_losses_of_a_missed_object():
    pred, target = ramp_and_object()
    assert l1_loss(pred, target).item() == pytest.approx(0.042188, abs=1e-6)
    assert rmse_loss(pred, target).item() == pytest.approx(0.117230, abs=1e-6)
    assert ssim_loss(pred, target).item() == pytest.approx((1 - 0.759960) / 2, abs=1e-6)
    # By hand: sides 2 * 7.2, inside 24 * 23 * 0.8 / 63, top edge 24 * 0.15397, bottom edge 24 * 0.44603; 64^2 pixels.
    assert gradient_loss(pred, target).item() == pytest.approx(35.8095 / 4096, abs=1e-6)


def test_huber_is_smooth_l1_in_the_units_of_the_squared_error():
    pred, target = ramp_and_object()
    torch.testing.assert_close(huber_loss(pred, target), 0.1 * smooth_l1_loss(pred, target))


def test_the_mixed_loss_is_kornias_without_its_factor_and_mostly_absolute_error():
    pred, target = ramp_and_object()
    assert 200 * ms_ssim_l1_loss(pred, target).item() == pytest.approx(MS_SSIMLoss()(pred, target).item(), rel=1e-6)
    # Far from an edge of the map a constant offset costs its 0.975, and next to nothing in structure.
    flat = torch.full((1, 1, 96, 96), 0.5, dtype=torch.float64)
    assert ms_ssim_l1_loss(flat + 0.02, flat).item() == pytest.approx(0.975 * 0.02, rel=0.15)


def test_gradient_loss_ignores_a_constant_offset():
    _, target = ramp_and_object()
    assert gradient_loss(target - 0.05, target).item() == pytest.approx(0, abs=1e-12)


def test_total_slope_equals_a_loop():
    image = torch.rand(2, 1, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for index, picture in enumerate(image[:, 0].tolist()):
        across = sum(abs(row[x + 1] - row[x]) for row in picture for x in range(4))
        down = sum(abs(picture[y + 1][x] - picture[y][x]) for y in range(3) for x in range(5))
        assert total_slope(image)[index].item() == pytest.approx(across + down)


def test_smooth_l1_and_charbonnier_are_l1_far_from_zero_and_squared_near_it():
    zero, far, near = torch.zeros(1).double(), torch.ones(1).double(), torch.full((1,), 1e-3).double()
    assert smooth_l1_loss(far, zero).item() == pytest.approx(1 - 0.05)
    assert smooth_l1_loss(near, zero).item() == pytest.approx(near.item() ** 2 / 0.2)
    assert charbonnier_loss(far, zero).item() == pytest.approx(1 - 0.05, abs=2e-3)
    assert charbonnier_loss(near, zero).item() == pytest.approx(near.item() ** 2 / 0.1, rel=1e-3)


def test_laplacian_loss_weighs_a_coarse_error_eight_times_a_fine_one():
    fine = (torch.arange(32) % 2).double().expand(1, 1, 32, 32) - 0.5
    coarse = ((torch.arange(32) >= 16).double() - 0.5).expand(1, 1, 32, 32)
    zero = torch.zeros_like(fine)
    assert l1_loss(fine, zero) == l1_loss(coarse, zero)
    assert laplacian_loss(fine, zero).item() == pytest.approx(0.5 / 4)
    assert laplacian_loss(coarse, zero).item() == pytest.approx(8 * 0.5 / 4)


def test_laplacian_loss_takes_sides_that_cannot_be_halved():
    pred = torch.rand(1, 1, 13, 9, generator=torch.Generator().manual_seed(0))
    assert laplacian_loss(pred, pred).item() == 0
    assert laplacian_loss(pred + 0.5, pred).item() == pytest.approx(1.0)


@pytest.mark.parametrize("loss", [ssim_w3_kornia03_loss, ssim_w5_kornia03_loss, ssim_w11_kornia03_loss])
def test_old_ssim_ends_at_one_half_however_wrong(loss):
    checkers = (torch.arange(16)[:, None] + torch.arange(16)).remainder(2).double()[None, None]
    assert loss(checkers, checkers).item() == 0
    assert loss(checkers, 1 - checkers).item() == 0.5


def test_old_ssim_of_window_3_hides_a_missed_object():
    pred, target = ramp_and_object()
    assert ssim_w3_kornia03_loss(pred, target).item() == pytest.approx((1 - 0.9117) / 2, abs=1e-4)
    assert ssim_w3_kornia03_loss(pred, target) < 0.5 * ssim_loss(pred, target)


@pytest.mark.parametrize("window_size", [3, 5, 11])
def test_old_ssim_equals_a_zero_padded_convolution(window_size):
    pred, target = ramp_and_object()
    line = torch.exp(-((torch.arange(window_size).double() - window_size // 2) ** 2) / (2 * 1.5**2))
    window = (line[:, None] * line)[None, None] / line.sum() ** 2

    def blur(image):
        return functional.conv2d(image, window, padding=window_size // 2)

    m_p, m_t = blur(pred), blur(target)
    v_p, v_t, cov = blur(pred**2) - m_p**2, blur(target**2) - m_t**2, blur(pred * target) - m_p * m_t
    expected = (2 * m_p * m_t + 1e-4) * (2 * cov + 9e-4) / ((m_p**2 + m_t**2 + 1e-4) * (v_p + v_t + 9e-4))
    found = kornia03_ssim_map(pred, target, window_size)
    torch.testing.assert_close(found, expected.clamp(0, 1), atol=1e-12, rtol=0)
