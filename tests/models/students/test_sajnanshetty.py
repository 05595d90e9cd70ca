"""Proves that the student's network is theirs: number of parameters, towers, and enlarging with aligned corners."""

import pytest
import torch

from maskdepth.models.students.sajnanshetty import SajnanshettyUNet, _pad


@pytest.mark.parametrize(("bilinear", "parameters"), [(True, 8_631_810), (False, 15_522_562)])
def test_parameters_are_the_published_number(bilinear, parameters):
    assert sum(parameter.numel() for parameter in SajnanshettyUNet(6, bilinear).parameters()) == parameters


def test_towers_share_only_the_first_block():
    model = SajnanshettyUNet(6).eval()
    mask_logits, _ = model(torch.rand(1, 6, 16, 16))
    mask_logits.sum().backward()
    assert all(parameter.grad is None for parameter in model.depth_tower.parameters())
    assert all(parameter.grad is not None for parameter in (*model.stem.parameters(), *model.mask_tower.parameters()))


def test_enlarging_aligns_the_corners_and_pads_what_an_odd_size_lacks():
    row = torch.tensor([[[[0.0, 3.0]]]])
    enlarged = SajnanshettyUNet(6).mask_tower.enlarge[0](row)
    # Two pixels become four, ends kept, one third apart; a fifth column of zeros is the odd size's.
    expected = torch.tensor([[[[0.0, 1.0, 2.0, 3.0, 0.0]] * 2]])
    torch.testing.assert_close(_pad(enlarged, like=torch.empty(1, 1, 2, 5)), expected)
