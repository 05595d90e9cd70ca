"""The two networks of sudhakarmlal have the published sizes, train every part, and take any picture size."""

import pytest
import torch
from torch.nn import functional as F

from maskdepth.models.students.sudhakarmlal import SudhakarmlalConvGen, SudhakarmlalNet


@pytest.fixture(params=[SudhakarmlalNet, SudhakarmlalConvGen])
def model(request) -> torch.nn.Module:
    torch.manual_seed(0)
    return request.param(6)


def draw_pictures(height: int, width: int) -> torch.Tensor:
    return torch.rand(2, 6, height, width, generator=torch.Generator().manual_seed(0))


def draw_mask() -> torch.Tensor:
    mask = torch.zeros(2, 1, 8, 8)
    mask[0, :, :4, :4] = mask[1, :, 2:, 4:] = 1
    return mask


@pytest.mark.parametrize(("build", "count"), [(SudhakarmlalNet, 6_987_744), (SudhakarmlalConvGen, 305_728)])
def test_the_parameter_count_is_the_projects(build, count):
    assert sum(parameter.numel() for parameter in build(6).parameters()) == count


@pytest.mark.parametrize(
    ("head", "taught", "idle"), [(0, "mask_branch", "depth_branch"), (1, "depth_branch", "mask_branch")]
)
def test_each_head_of_net_teaches_its_own_branch_alone(head, taught, idle):
    model = SudhakarmlalNet(6)
    model(draw_pictures(8, 8))[head].square().mean().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.get_submodule(taught).parameters())
    assert all(parameter.grad is None for parameter in model.get_submodule(idle).parameters())


def test_the_three_channels_of_a_head_are_served_as_their_mean():
    model = SudhakarmlalNet(6)
    channels = torch.tensor([1.0, 2.0, 6.0]).view(1, 3, 1, 1)
    model.mask_branch.head.register_forward_hook(lambda _, inputs, output: channels.expand_as(output))
    model.depth_branch.head.register_forward_hook(lambda _, inputs, output: -channels.expand_as(output))
    mask_logits, depth_logits = model(draw_pictures(8, 8))
    torch.testing.assert_close(mask_logits, torch.full((2, 1, 8, 8), 3.0))
    torch.testing.assert_close(depth_logits, torch.full((2, 1, 8, 8), -3.0))


def test_convgen_serves_one_output_as_both():
    mask_logits, depth_logits = SudhakarmlalConvGen(6)(draw_pictures(8, 8))
    assert torch.equal(mask_logits, depth_logits)


@pytest.mark.parametrize("head", [0, 1])
def test_one_batch_is_learnt_by_convgen_through_either_output(head):
    torch.manual_seed(0)
    model = SudhakarmlalConvGen(6)
    pictures, mask = draw_pictures(8, 8), draw_mask()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(20):
        scores = model(pictures)[head]
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(scores, mask).backward()
        optimizer.step()
    assert ((scores > 0) == mask.bool()).float().mean() > 0.95
