"""The network of deepjyotisaha85 has the published size, trains all but its unused part, and takes any picture size."""

import pytest
import torch

from maskdepth.models.students.deepjyotisaha85 import Deepjyotisaha85ResNet


@pytest.fixture
def model() -> Deepjyotisaha85ResNet:
    torch.manual_seed(0)
    return Deepjyotisaha85ResNet(6)


def draw_pictures(height: int, width: int) -> torch.Tensor:
    return torch.rand(2, 6, height, width, generator=torch.Generator().manual_seed(0))


def test_the_parameter_count_is_the_projects(model):
    assert sum(parameter.numel() for parameter in model.parameters()) == 3_789_888


def test_the_unused_convolution_and_nothing_else_goes_without_gradient(model):
    mask_logits, depth_logits = model(draw_pictures(8, 8))
    (mask_logits.mean() + depth_logits.mean()).backward()
    taught = {name: parameter.numel() for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert not any("unused_" in name for name in taught)
    assert sum(taught.values()) == 3_199_552


@pytest.mark.parametrize("head", [0, 1])
@pytest.mark.parametrize("stream", ["background_stream", "composite_stream"])
def test_each_head_alone_teaches_both_streams(model, head, stream):
    first_weight = next(model.get_submodule(stream).parameters())
    (gradient,) = torch.autograd.grad(model(draw_pictures(8, 8))[head].square().mean(), first_weight)
    assert gradient.abs().sum() > 0


def test_the_background_comes_first_and_has_its_own_stream(model):
    seen = []
    model.background_stream.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0]))
    pictures = draw_pictures(8, 8)
    model(pictures)
    assert torch.equal(seen[0], pictures[:, :3])
