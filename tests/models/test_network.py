"""Proves that the network normalises by its own buffers, stacks what its spec says, and answers in full precision."""

import torch
from torch import nn

from maskdepth.models.network import Network, NetworkSpec, Normalisation


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
