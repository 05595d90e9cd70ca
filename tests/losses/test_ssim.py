"""Proves that our SSIM is the standard one, to the last digits, and stays so at any precision setting."""

import kornia
import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch.nn import functional

from maskdepth.device import set_deterministic
from maskdepth.losses.ssim import ssim, ssim_map, window_matrix


def reference(pred, target):
    """Wang's SSIM by scikit-image, image by image."""
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    pairs = zip(pred[:, 0].double().numpy(), target[:, 0].double().numpy(), strict=True)
    return torch.tensor([structural_similarity(p, t, **settings) for p, t in pairs])


def pairs():
    """Pairs of maps of very different kinds, (3, 1, 40, 56) each."""
    rng = np.random.default_rng(0)
    noise = torch.from_numpy(rng.random((3, 1, 40, 56)))
    other = torch.from_numpy(rng.random((3, 1, 40, 56)))
    smooth = functional.avg_pool2d(noise, 9, stride=1, padding=4, count_include_pad=False)
    ramp = torch.linspace(0.1, 0.9, 40, dtype=torch.float64)[:, None].expand(3, 1, 40, 56)
    box = torch.zeros_like(ramp)
    box[..., 10:30, 12:36] = 1
    return {
        "noise and noise": (noise, other),
        "noise and nearly the same": (noise, (noise + 0.1 * other).clamp(0, 1)),
        "smooth and noisy": (smooth, (smooth + 0.02 * other).clamp(0, 1)),
        "smooth and fainter": (smooth, 0.9 * smooth + 0.05),
        "box and shifted box": (box, box.roll(1, -1)),
        "ramp and ramp with object": (ramp, torch.where(box > 0, 0.2, ramp)),
        "flat and flat": (torch.full_like(ramp, 0.5), torch.full_like(ramp, 0.6)),
        "black and black": (torch.zeros_like(ramp), torch.zeros_like(ramp)),
        "bright and nearly flat": (1 - 0.01 * noise, 1 - 0.01 * other),
    }


@pytest.mark.parametrize("kind", pairs())
def test_ssim_equals_scikit_image(kind):
    pred, target = pairs()[kind]
    torch.testing.assert_close(ssim(pred, target), reference(pred, target), atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", pairs())
def test_ssim_in_float32_is_right_to_2e_6(kind):
    pred, target = pairs()[kind]
    found = ssim(pred.float(), target.float())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), reference(pred.float(), target.float()), atol=2e-6, rtol=0)


def test_the_digits_of_a_map_do_not_depend_on_the_others_of_its_batch():
    bright, dark = pairs()["bright and nearly flat"], pairs()["black and black"]
    pred, target = (torch.cat(maps).float() for maps in zip(bright, dark, strict=True))
    torch.testing.assert_close(ssim(pred, target).double(), reference(pred, target), atol=2e-6, rtol=0)


def test_the_estimate_says_how_precise_the_result_is():
    pred, target = pairs()["smooth and noisy"]
    found = ssim(pred.float(), target)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, ssim(pred.float(), target.float()))


def test_map_equals_kornia():
    pred, target = pairs()["smooth and noisy"]
    expected = kornia.metrics.ssim(pred, target, 11, max_val=1.0, eps=0.0, padding="valid")
    torch.testing.assert_close(ssim_map(pred, target, 11), expected, atol=1e-12, rtol=0)


def test_ssim_is_symmetric():
    pred, target = pairs()["noise and nearly the same"]
    torch.testing.assert_close(ssim(pred, target), ssim(target, pred))


def test_maps_smaller_than_the_window_are_refused():
    small = torch.zeros(1, 1, 10, 64)
    with pytest.raises(ValueError, match="at least 11 px a side, found 10 x 64"):
        ssim(small, small)


def test_training_works_after_a_first_use_in_inference_mode():
    window_matrix.cache_clear()
    pred, target = torch.rand(1, 1, 12, 13), torch.rand(1, 1, 12, 13)
    with torch.inference_mode():
        ssim(pred, target)
    pred.requires_grad_()
    ssim(pred, target).sum().backward()
    assert pred.grad is not None and pred.grad.isfinite().all()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_float32_is_exact_enough_as_a_training_sets_its_device(device):
    set_deterministic(torch.device(device))
    try:
        pred, target = (values.float() for values in pairs()["box and shifted box"])
        found = ssim(pred.to(device), target.to(device)).cpu()
        assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.use_deterministic_algorithms(False)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), reference(pred, target), atol=5e-6, rtol=0)
