"""Proves that the network normalises by its own buffers, stacks what its spec says, and answers in full precision."""

import torch
from torch import nn

from maskdepth.models.network import DEPTH_MAPS, Network, NetworkSpec, Normalisation


class Echo(nn.Module):
    """Gives two channels of its input back as raw scores."""

    def __init__(self, mask_channel, depth_channel):
        super().__init__()
        self.channels = (mask_channel, depth_channel)

    def forward(self, pictures):
        return tuple(pictures[:, channel : channel + 1] for channel in self.channels)


def build(mask_channel, depth_channel, inputs="background+composite", std=(0.5, 0.25, 0.1)):
    normalisation = Normalisation((0.1, 0.2, 0.3), std, (0.4, 0.5, 0.6), std)
    return Network(Echo(mask_channel, depth_channel), NetworkSpec("echo", inputs, normalisation, 8))


def test_background_comes_first_and_each_channel_is_standardised_by_its_own_moments():
    background, composite = torch.full((1, 3, 2, 2), 0.7), torch.full((1, 3, 2, 2), 0.9)
    prediction = build(1, 3)(background, composite)
    # Green of the background: (0.7 - 0.2) / 0.25; red of the composite: (0.9 - 0.4) / 0.5, then the sigmoid of depth.
    torch.testing.assert_close(prediction.mask_logits, torch.full((1, 1, 2, 2), 2.0))
    torch.testing.assert_close(prediction.depth, torch.full((1, 1, 2, 2), 1.0).sigmoid())


def test_difference_is_absolute_and_in_the_spread_of_the_composite():
    background, composite = torch.full((1, 3, 2, 2), 0.9), torch.full((1, 3, 2, 2), 0.7)
    prediction = build(7, 0, "background+composite+difference")(background, composite)
    torch.testing.assert_close(prediction.mask_logits, torch.full((1, 1, 2, 2), 0.2 / 0.25))


def test_a_channel_without_spread_stays_finite():
    network = build(0, 3, std=(0.0, 0.0, 0.0))
    assert network(*torch.rand(2, 1, 3, 2, 2)).mask_logits.isfinite().all()


def test_answers_are_float32_under_autocast():
    normalisation = Normalisation(*[(0.5, 0.5, 0.5)] * 4)
    convolution = nn.Conv2d(6, 2, 1)

    class Pair(nn.Module):
        def forward(self, pictures):
            both = convolution(pictures)
            assert both.dtype == torch.bfloat16
            return both[:, :1], both[:, 1:]

    network = Network(Pair(), NetworkSpec("pair", "background+composite", normalisation, 8))
    with torch.autocast("cpu", torch.bfloat16):
        prediction = network(*torch.rand(2, 1, 3, 4, 4))
    assert prediction.mask_logits.dtype == prediction.depth.dtype == torch.float32


def test_moments_are_in_the_spec_and_not_among_the_weights():
    assert list(build(0, 3).state_dict()) == []


class Constant(nn.Module):
    """Gives the same scores whatever it sees, and remembers what that was."""

    def __init__(self, mask, *depth):
        super().__init__()
        self.mask, self.depth = mask, depth

    def forward(self, pictures):
        self.seen = pictures
        flat = torch.ones_like(pictures[:, :1])
        return self.mask * flat, torch.cat([score * flat for score in self.depth], 1)


KNOWN = "background+composite+background_depth"
NOTHING, ALL = -100.0, 100.0  # scores of a mask and of a trust


def build_knowing(mask=NOTHING, added=0.0, trust=NOTHING, thing=3.0, inputs=KNOWN):
    normalisation = Normalisation(*[(0.5, 0.5, 0.5)] * 4)
    return Network(Constant(mask, added, trust, thing), NetworkSpec("constant", inputs, normalisation, 8))


def pictures_and_depth():
    background, composite = torch.rand(2, 2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    depth = torch.linspace(0.1, 0.9, 32).view(2, 1, 4, 4)
    return background, composite, depth


def given(depth, known=1.0):
    """Depth of the background as a network takes it."""
    return torch.cat([depth, torch.full_like(depth, known)], 1)


def test_what_the_model_adds_it_adds_to_the_logit_of_the_depth_of_the_background():
    *pictures, depth = pictures_and_depth()
    torch.testing.assert_close(build_knowing(added=0)(*pictures, given(depth)).depth, depth)
    torch.testing.assert_close(build_knowing(added=0.7)(*pictures, given(depth)).depth.logit(), depth.logit() + 0.7)


def test_depth_that_the_model_trusts_is_given_back_whatever_it_would_add():
    *pictures, depth = pictures_and_depth()
    assert torch.equal(build_knowing(added=5, trust=ALL)(*pictures, given(depth)).depth, depth)
    half = build_knowing(added=0.7, trust=0)(*pictures, given(depth)).depth
    torch.testing.assert_close(half, (depth + (depth.logit() + 0.7).sigmoid()) / 2)


def test_the_object_stands_before_the_scene_as_far_as_the_mask_says():
    *pictures, depth = pictures_and_depth()
    alone, half = (build_knowing(mask, thing=-2)(*pictures, given(depth)).depth for mask in (ALL, 0))
    nearness = torch.tensor(-2.0).sigmoid().expand_as(depth)
    torch.testing.assert_close(alone, nearness)
    torch.testing.assert_close(half, (depth + nearness) / 2)


def test_where_the_depth_is_not_known_the_model_gives_all_of_it():
    *pictures, depth = pictures_and_depth()
    unknown = given(depth)
    unknown[1] = 0
    prediction = build_knowing(added=0.4, trust=0)(*pictures, unknown).depth
    torch.testing.assert_close(prediction[1], torch.tensor(0.4).sigmoid().expand_as(prediction[1]))
    torch.testing.assert_close(prediction[0], build_knowing(added=0.4, trust=0)(*pictures, given(depth)).depth[0])


def test_depth_that_is_not_given_is_depth_that_is_not_known():
    *pictures, depth = pictures_and_depth()
    network = build_knowing(mask=0, added=0.4, trust=0.2)
    without = network(*pictures)
    seen = network.model.seen
    unknown = network(*pictures, given(depth, known=0))
    assert torch.equal(network.model.seen, seen)
    assert torch.equal(without.depth, unknown.depth)


def test_a_model_sees_the_depth_and_how_it_is_known():
    *pictures, depth = pictures_and_depth()
    network = build_knowing(inputs="background+composite+difference+background_depth")
    for known, told in ((1.0, 1), (0.5, 0), (0.0, -1)):
        network(*pictures, given(depth, known))
        seen = network.model.seen
        assert seen.shape[1] == 11
        torch.testing.assert_close(seen[:, 9:10], (depth - 0.5) / 0.25 if known else torch.zeros_like(depth))
        assert seen[:, 10].unique().tolist() == [told]


def test_depth_of_exactly_0_and_1_stays_finite_and_near_it():
    *pictures, _ = pictures_and_depth()
    ends = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 4, 4)
    depth = build_knowing()(*pictures, given(ends)).depth
    torch.testing.assert_close(depth, ends, atol=1 / 255, rtol=0)
    assert build_knowing(added=1)(*pictures, given(ends)).depth.isfinite().all()


def test_a_model_that_does_not_see_the_depth_of_the_background_is_as_it_was():
    *pictures, depth = pictures_and_depth()
    network = build(1, 3)
    assert torch.equal(network(*pictures, given(depth)).depth, network(*pictures).depth)
    assert torch.equal(network(*pictures).depth, network.stack(*pictures)[:, 3:4].sigmoid())


def test_the_mask_learns_nothing_from_the_depth():
    *pictures, depth = pictures_and_depth()
    mask = torch.zeros(2, 1, 4, 4, requires_grad=True)
    scores = torch.full((2, DEPTH_MAPS, 4, 4), 0.1, requires_grad=True)

    class Given(nn.Module):
        def forward(self, pictures):
            return mask, scores

    network = build_knowing()
    network.model = Given()
    network(*pictures, given(depth)).depth.sum().backward()
    assert mask.grad is None
    assert (scores.grad != 0).all()
