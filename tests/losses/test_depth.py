"""Proves the depth losses on worked cases, and that the relative ones forgive exactly what they promise to."""

import numpy as np
import pytest
import torch

from maskdepth.losses.depth import (
    align,
    bce_depth_loss,
    berhu_loss,
    multiscale_gradient_loss,
    silog_loss,
    ssi_loss,
    ssi_mae_loss,
    total_variation_loss,
)


def ramp_and_object():
    """A ramp of depth, and the same with a box at depth 0.2 in it: (1, 1, 64, 64), estimate first."""
    target = (torch.linspace(0, 1, 64, dtype=torch.float64) * 0.8 + 0.1)[:, None].expand(1, 1, 64, 64)
    pred = target.clone()
    pred[..., 20:44, 16:40] = 0.2
    return pred, target


def random_pair():
    generator = torch.Generator().manual_seed(0)
    shape = (3, 1, 16, 16)
    return tuple(0.1 + 0.8 * torch.rand(shape, generator=generator, dtype=torch.float64) for _ in range(2))


def test_losses_of_a_missed_object():
    # Recorded from independent NumPy code.
    pred, target = ramp_and_object()
    assert berhu_loss(pred, target).item() == pytest.approx(0.083300, abs=1e-6)
    assert silog_loss(pred, target).item() == pytest.approx(0.323917, abs=1e-6)
    assert silog_loss(pred, target, share=0.5).item() == pytest.approx(0.332466, abs=1e-6)
    assert ssi_loss(pred, target).item() == pytest.approx(0.005069, abs=1e-6)
    assert multiscale_gradient_loss(pred, target).item() == pytest.approx(0.131066, abs=1e-6)


def test_align_equals_least_squares():
    pred, target = random_pair()
    for index, aligned in enumerate(align(pred, target)):
        columns = np.stack([pred[index].flatten().numpy(), np.ones(256)], axis=1)
        solution = np.linalg.lstsq(columns, target[index].flatten().numpy(), rcond=None)[0]
        np.testing.assert_allclose(aligned.flatten().numpy(), columns @ solution, atol=1e-12)


def test_align_of_a_missed_object_has_the_known_scale_and_shift():
    pred, target = ramp_and_object()
    aligned = align(pred, target)
    scale = (aligned.max() - aligned.min()) / (pred.max() - pred.min())
    assert scale.item() == pytest.approx(0.832196, abs=1e-6)
    assert (aligned - scale * pred).mean().item() == pytest.approx(0.119010, abs=1e-6)


@pytest.mark.parametrize("loss", [ssi_loss, ssi_mae_loss, multiscale_gradient_loss])
def test_relative_losses_do_not_see_scale_and_shift(loss):
    pred, target = random_pair()
    torch.testing.assert_close(loss(0.3 * pred + 0.2, target), loss(pred, target))
    assert loss(0.3 * target + 0.2, target).item() == pytest.approx(0, abs=1e-12)


def test_only_the_median_form_sees_an_inverted_depth():
    _, target = random_pair()
    assert ssi_loss(1 - target, target).item() == pytest.approx(0, abs=1e-12)
    assert ssi_mae_loss(1 - target, target).item() > 1


def test_ssi_mae_equals_numpy():
    pred, target = (values[..., :15] for values in random_pair())  # an odd number of pixels: one median

    def normalised(depth):
        centred = depth - np.median(depth)
        return centred / np.abs(centred).mean()

    pred, target = pred[..., :15, :], target[..., :15, :]
    pictures = zip(pred.numpy(), target.numpy(), strict=True)
    expected = np.mean([np.abs(normalised(p) - normalised(t)).mean() for p, t in pictures])
    assert ssi_mae_loss(pred, target).item() == pytest.approx(expected)


def test_silog_of_a_common_factor_is_what_is_not_forgiven():
    _, target = random_pair()
    assert silog_loss(0.5 * target, target, share=1.0).item() == pytest.approx(0, abs=1e-5)
    assert silog_loss(0.5 * target, target, share=0.0).item() == pytest.approx(np.log(2))


def test_silog_reads_depths_under_the_floor_as_the_floor():
    zero, floor = torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 0.01)
    assert silog_loss(zero, floor).item() == pytest.approx(1e-6)


def test_berhu_is_l1_below_a_fifth_of_the_worst_error():
    pred, target = torch.full((1, 1, 10, 10), 0.1).double(), torch.zeros(1, 1, 10, 10).double()
    pred[..., 0, 0] = 1.0
    assert berhu_loss(pred, target).item() == pytest.approx((99 * 0.1 + (1 + 0.04) / 0.4) / 100)


def test_berhu_does_not_reward_a_larger_worst_error():
    pred, target = random_pair()
    pred[..., 0, 0], target[..., 0, 0] = 1.0, 0.0
    pred.requires_grad_()
    berhu_loss(pred, target).backward()
    assert (pred.grad[..., 0, 0] > 0).all()


def test_bce_is_least_at_the_truth():
    _, target = random_pair()
    target.requires_grad_()
    (gradient,) = torch.autograd.grad(bce_depth_loss(target, target.detach()), target)
    assert gradient.abs().max() < 1e-5
    assert bce_depth_loss(target, target.detach()) < bce_depth_loss(1 - target, target.detach())


def test_bce_pulls_a_saturated_estimate_back():
    pred, target = torch.tensor([[[[0.0, 1.0]]]], requires_grad=True), torch.full((1, 1, 1, 2), 0.5)
    bce_depth_loss(pred, target).backward()
    assert pred.grad[..., 0].item() < 0 < pred.grad[..., 1].item()


def test_total_variation_of_any_truth_is_that_of_the_estimate():
    pred, target = random_pair()
    assert total_variation_loss(pred, target) == total_variation_loss(pred, pred)
    assert total_variation_loss(torch.full_like(pred, 0.3), target).item() == 0
