"""Proves that encoder and decoder visit the scales they claim, at any size, and that the separable block is cheap."""

import pytest
import torch
from torch.nn import functional

from maskdepth.models.blocks import Decoder, Encoder, SeparableBlock, double_convolution, resize


def test_encoder_halves_the_size_at_each_scale_and_rounds_down():
    scales = Encoder(5, (2, 3, 4, 5, 6), double_convolution)(torch.rand(2, 5, 37, 16))
    assert [tuple(scale.shape) for scale in scales] == [
        (2, 2, 37, 16),
        (2, 3, 18, 8),
        (2, 4, 9, 4),
        (2, 5, 4, 2),
        (2, 6, 2, 1),
    ]


@pytest.mark.parametrize(("widths", "size"), [((2, 3), (9, 6)), ((2,), (4, 3))])
def test_decoder_ends_at_the_scale_that_its_steps_reach(widths, size):
    scales = [torch.rand(1, channels, *side) for channels, side in ((4, (9, 6)), (5, (4, 3)), (6, (2, 1)))]
    assert Decoder((4, 5, 6), widths, double_convolution)(scales).shape == (1, 2, *size)


def test_separable_block_has_the_parameters_of_its_three_convolutions():
    # 1x1: 8*16, depthwise 3x3: 16*9, 1x1: 16*16; three normalisations of 2*16.
    assert sum(p.numel() for p in SeparableBlock(8, 16).parameters()) == 8 * 16 + 16 * 9 + 16 * 16 + 3 * 32


def test_separable_block_passes_its_first_convolution_on_when_the_rest_is_silent():
    block = SeparableBlock(3, 4).eval()
    torch.nn.init.zeros_(block.project[0].weight)
    x = torch.rand(1, 3, 5, 5)
    torch.testing.assert_close(block(x), block.pointwise(x))


def test_resize_takes_the_size_of_the_other_and_keeps_a_constant():
    resized = resize(torch.full((1, 1, 2, 3), 0.5), like=torch.empty(1, 9, 5, 7))
    torch.testing.assert_close(resized, torch.full((1, 1, 5, 7), 0.5))


def test_gradients_of_resized_features_are_right_behind_a_concatenation():
    generator = torch.Generator().manual_seed(0)
    coarse, fine = torch.rand(2, 4, 3, 5, generator=generator), torch.rand(2, 2, 6, 11, generator=generator)
    weights = torch.rand(2, 6, 6, 11, generator=generator)
    gradients = []
    for enlarge in (resize, lambda x, like: functional.interpolate(x, like.shape[-2:], mode="bilinear")):
        x = coarse.clone().contiguous(memory_format=torch.channels_last).requires_grad_()
        (torch.cat([enlarge(x, fine), fine], dim=1) * weights).sum().backward()
        gradients.append(x.grad)
    torch.testing.assert_close(*gradients)
