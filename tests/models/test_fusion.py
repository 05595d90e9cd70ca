"""Proves how a given depth of the background becomes that of the whole scene, and that the model stays apart."""

import pytest
import torch
from torch import nn

from maskdepth.models.network import Network, NetworkSpec, Normalisation

INPUTS = "background+composite+background_depth"
NOTHING, ALL = -100.0, 100.0  # scores of a mask and of a trust
OWN = 0.4  # the model's own score of depth, from the pictures alone


class Constant(nn.Module):
    """Gives the same scores whatever it sees."""

    def __init__(self, mask):
        super().__init__()
        self.scores = nn.Parameter(torch.tensor([mask, OWN]))

    def forward(self, pictures):
        flat = torch.ones_like(pictures[:, :1])
        return self.scores[0] * flat, self.scores[1] * flat


def build(mask=NOTHING, added=0.0, trust=NOTHING, thing=3.0):
    normalisation = Normalisation(*[(0.5, 0.5, 0.5)] * 4)
    network = Network(Constant(mask), NetworkSpec("constant", INPUTS, normalisation, 16)).eval()
    nn.init.zeros_(network.fusion.head.weight)
    network.fusion.head.bias.data = torch.tensor([added, trust, thing])
    return network


@pytest.fixture
def pictures():
    return torch.rand(2, 2, 3, 17, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def depth():
    return torch.linspace(0.1, 0.9, 2 * 17 * 16).view(2, 1, 17, 16)


def given(depth, known=1.0):
    """Depth of the background as a network takes it."""
    return torch.cat([depth, torch.full_like(depth, known)], 1)


def test_what_is_added_is_added_to_the_logit_of_the_given_depth(pictures, depth):
    torch.testing.assert_close(build(added=0)(*pictures, given(depth)).depth, depth)
    torch.testing.assert_close(build(added=0.7)(*pictures, given(depth)).depth.logit(), depth.logit() + 0.7)


def test_depth_that_is_trusted_is_given_back_whatever_would_be_added(pictures, depth):
    assert torch.equal(build(added=5, trust=ALL)(*pictures, given(depth)).depth, depth)
    half = build(added=0.7, trust=0)(*pictures, given(depth)).depth
    torch.testing.assert_close(half, (depth + (depth.logit() + 0.7).sigmoid()) / 2)


def test_the_object_stands_before_the_scene_as_far_as_the_mask_says(pictures, depth):
    alone, half = (build(mask, thing=-2)(*pictures, given(depth)).depth for mask in (ALL, 0.0))
    nearness = torch.tensor(-2.0).sigmoid().expand_as(depth)
    torch.testing.assert_close(alone, nearness)
    torch.testing.assert_close(half, (depth + nearness) / 2)


def test_where_the_depth_is_not_known_it_is_the_models_own(pictures, depth):
    network = build(mask=0.0, added=3)
    own = torch.tensor(OWN).sigmoid().expand_as(depth)
    unknown = given(depth)
    unknown[1] = 0
    told = network(*pictures, unknown).depth
    torch.testing.assert_close(told[1], own[1])
    assert torch.equal(told[0], network(*pictures, given(depth)).depth[0])
    torch.testing.assert_close(network(*pictures).depth, own)


@pytest.mark.parametrize("what", ["depth", "known", "mask"])
def test_what_is_shown_makes_a_difference_beyond_its_place(pictures, depth, what):
    torch.manual_seed(0)
    network = build(mask=0.0)
    nn.init.normal_(network.fusion.head.weight)
    alone = network.predict_each(*pictures)[0]
    shown = {"depth": depth, "known": torch.ones_like(depth), "mask": alone.mask_logits}

    def answer(shown):
        prediction = alone._replace(mask_logits=shown["mask"])
        return network.fusion(prediction, torch.cat([shown["depth"], shown["known"]], 1)).depth

    changed = shown[what].clone()
    changed[..., :8] = changed[..., :8] * 0.5 + 0.3
    assert (answer(shown | {what: changed}) - answer(shown))[..., 10:].abs().max() > 1e-4


def test_the_pictures_are_not_shown(pictures, depth):
    network = build(mask=0.0)
    nn.init.normal_(network.fusion.head.weight)
    assert torch.equal(network(*pictures, given(depth)).depth, network(*pictures.flip(0), given(depth)).depth)


def test_depth_of_exactly_0_and_1_stays_finite_and_near_it(pictures):
    ends = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 17, 16)
    torch.testing.assert_close(build()(*pictures, given(ends)).depth, ends, atol=1 / 255, rtol=0)
    assert build(added=1)(*pictures, given(ends)).depth.isfinite().all()


def test_the_model_learns_nothing_from_what_the_given_depth_makes_of_its_prediction(pictures, depth):
    network = build(mask=0.0, added=1, trust=0)
    alone, fused = network.predict_each(*pictures, given(depth))
    assert torch.equal(alone.mask_logits, fused.mask_logits)
    assert not fused.mask_logits.requires_grad
    fused.depth.sum().backward()
    assert network.model.scores.grad is None
    assert (network.fusion.head.bias.grad != 0).all()


def test_a_network_that_does_not_see_the_depth_of_the_background_is_none_the_wiser(pictures, depth):
    spec = NetworkSpec("constant", "background+composite", Normalisation(*[(0.5, 0.5, 0.5)] * 4), 16)
    network = Network(Constant(0.0), spec)
    assert len(network.predict_each(*pictures, given(depth))) == 1
    assert torch.equal(network(*pictures, given(depth)).depth, network(*pictures).depth)


def test_answers_are_float32_under_autocast(pictures, depth):
    with torch.autocast("cpu", torch.bfloat16):
        prediction = build()(*pictures, given(depth))
    assert prediction.mask_logits.dtype == prediction.depth.dtype == torch.float32
