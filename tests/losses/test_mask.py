"""Proves the mask losses on worked cases and against independent implementations."""

import kornia
import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt
from torch.testing import assert_close
from torchvision.ops import sigmoid_focal_loss

from maskdepth.losses import mask as mask_losses
from maskdepth.losses.mask import (
    boundary_loss,
    dice_loss,
    focal_loss,
    hausdorff_loss,
    iou_loss,
    lovasz_loss,
    measure_on_device,
    tversky_loss,
)
from maskdepth.losses.students import bce_zscored_mask_loss


def scores_and_mask():
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(4, 1, 16, 16, generator=generator, dtype=torch.float64)
    return logits, (torch.rand(4, 1, 16, 16, generator=generator) > 0.7).double()


def test_dice_equals_kornia_with_the_background_switched_off():
    logits, target = scores_and_mask()
    two_channels = torch.cat([torch.zeros_like(logits), logits], 1)
    weight = torch.tensor([0.0, 1.0], dtype=torch.float64)
    expected = kornia.losses.dice_loss(two_channels, target.long()[:, 0], weight=weight)
    torch.testing.assert_close(dice_loss(logits, target, smooth=0.0), expected, atol=1e-7, rtol=0)


def test_focal_equals_torchvision_on_hard_masks():
    logits, target = scores_and_mask()
    expected = sigmoid_focal_loss(logits, target, alpha=0.25, gamma=2, reduction="mean")
    torch.testing.assert_close(focal_loss(logits, target), expected)


def test_lovasz_of_scores_of_one_is_twice_the_lost_iou():
    pred, target = torch.zeros(1, 1, 8, 8).double(), torch.zeros(1, 1, 8, 8).double()
    pred[..., :4, :], target[..., :3, :] = 1, 1  # IoU 3/4
    assert lovasz_loss(2 * pred - 1, target).item() == pytest.approx(2 * (1 - 3 / 4))


def test_tversky_with_equal_weights_is_dice():
    logits, target = scores_and_mask()
    tversky = tversky_loss(logits, target, alpha=0.5, beta=0.5, smooth=1.0)
    torch.testing.assert_close(tversky, dice_loss(logits, target, smooth=2.0))


def test_tversky_punishes_a_missed_pixel_more_than_a_false_one():
    true, more, less = (torch.zeros(1, 1, 8, 8) for _ in range(3))
    true[..., :4, :], more[..., :5, :], less[..., :3, :] = 1, 1, 1
    assert tversky_loss(40 * less - 20, true) > tversky_loss(40 * more - 20, true)


def test_boundary_loss_has_the_gradient_of_its_paper():
    # There the loss is the mean of phi * p, with phi the signed distance [px], negative inside.
    logits, target = scores_and_mask()
    diagonal = (16**2 + 16**2) ** 0.5
    phi = np.stack([distance_transform_edt(1 - mask) - distance_transform_edt(mask) for mask in target[:, 0].numpy()])
    phi = torch.from_numpy(phi - 0.5 * np.sign(phi))[:, None] / diagonal
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    boundary_loss(ours, target).backward()
    (phi * theirs.sigmoid()).mean().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_boundary_loss_of_a_mask_without_an_edge_is_the_absolute_error():
    logits, _ = scores_and_mask()
    for truth in (torch.zeros_like(logits), torch.ones_like(logits)):
        torch.testing.assert_close(boundary_loss(logits, truth), (logits.sigmoid() - truth).abs().mean())


def test_hausdorff_loss_forgives_a_lone_pixel_and_weighs_errors_by_their_thickness():
    true = torch.zeros(1, 1, 32, 32)
    true[..., 8:16, 8:16] = 1
    costs = []
    for bottom, right in ((9, 17), (16, 18), (16, 20), (16, 24)):
        found = true.clone()
        found[..., 8:bottom, 8:right] = 1
        costs.append(hausdorff_loss(200 * found - 100, true).item())
    assert costs[0] == 0
    assert 0 < costs[1] < costs[2] < costs[3]


@pytest.mark.parametrize("loss", [dice_loss, iou_loss, tversky_loss])
def test_empty_mask_predicted_empty_costs_nothing(loss):
    empty = torch.zeros(2, 1, 8, 8)
    assert loss(empty - 40, empty).item() == pytest.approx(0, abs=1e-6)
    assert loss(empty + 40, empty).item() > 0.95


@pytest.mark.parametrize("loss", [dice_loss, iou_loss])
def test_overlap_losses_weigh_small_and_large_objects_alike(loss):
    small, large = torch.zeros(1, 1, 64, 64), torch.zeros(1, 1, 64, 64)
    small[..., :8, :8], large[..., :32, :32] = 1, 1
    missed = torch.full((1, 1, 64, 64), -40.0)
    assert loss(missed, small).item() == pytest.approx(loss(missed, large).item(), abs=0.02)


def test_zscored_loss_has_its_published_floor():
    # The runs that were published ended at 0.505 to 0.511 and could not pass 0.48.
    target = torch.zeros(1, 1, 64, 64)
    target.view(-1)[:237] = 1  # the mean of that data set: 5.79 % object
    assert bce_zscored_mask_loss(80 * target - 40, target).item() == pytest.approx(0.48, abs=0.005)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (16, 16), (13, 20)])
def test_distances_measured_on_a_device_are_those_of_scipy(size):
    generator = torch.Generator().manual_seed(0)
    shares = torch.linspace(0, 1, 12).view(-1, 1, 1, 1)  # from empty to full
    masks = torch.rand(12, 1, *size, generator=generator) < shares
    masks[3, :, : size[0] // 2, : size[1] // 2] = True
    # Some processors round a root in the last bit otherwise.
    assert_close(measure_on_device(masks), mask_losses._measure_with_scipy(masks), rtol=1e-14, atol=1e-14)


def test_boundary_is_the_same_wherever_its_distances_are_measured(monkeypatch):
    logits, target = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)), torch.zeros(2, 1, 16, 16)
    target[0, :, 4:9, 3:12] = 1
    loss = boundary_loss(logits, target)
    monkeypatch.setattr(mask_losses, "_measure_with_scipy", measure_on_device)
    assert_close(boundary_loss(logits, target), loss)
