"""The network of sumankanukollu has the published size, trains all but its unused parts, and takes any picture size."""

import pytest
import torch

from maskdepth.models.students.sumankanukollu import SumankanukolluDepthMask


@pytest.fixture
def model() -> SumankanukolluDepthMask:
    torch.manual_seed(0)
    return SumankanukolluDepthMask(6)


def draw_pictures(height: int, width: int) -> torch.Tensor:
    return torch.rand(2, 6, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("depth_channels", "count"), [(1, 12_384_577), (3, 12_384_643)])
def test_the_parameter_count_is_the_projects(depth_channels, count):
    model = SumankanukolluDepthMask(6, depth_channels)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_at_224_px_the_decoders_go_through_the_projects_sizes(model):
    sides = []
    for up in (model.mask_up64, *model.decoder.ups):
        up.register_forward_hook(lambda _, inputs, output: sides.append(output.shape[-1]))
    with torch.no_grad():
        model.eval()(draw_pictures(224, 224)[:1])
    mask_sides, depth_sides = sides[:5], sides[5:]
    assert mask_sides == [4, 28, 56, 112, 224]
    assert depth_sides == mask_sides[1:]  # the depth's first step is its own


def test_the_unused_parts_and_nothing_else_go_without_gradient(model):
    mask_logits, depth_logits = model(draw_pictures(32, 32))
    (mask_logits.mean() + depth_logits.mean()).backward()
    idle = {name: parameter.numel() for name, parameter in model.named_parameters() if parameter.grad is None}
    assert all("unused_" in name for name in idle)
    assert sum(idle.values()) == 1_109_120


@pytest.mark.parametrize("side", [1, 2])
def test_strided_convolutions_have_the_same_gradient_in_bfloat16(model, side):
    convolution = model.down256.halve_twice[0]
    features = torch.randn(16, 256, side, side, generator=torch.Generator().manual_seed(0))
    gradients = []
    for dtype in (torch.float32, torch.bfloat16):
        with torch.autocast("cpu", dtype, enabled=dtype == torch.bfloat16):
            output = convolution(features)
        gradients += torch.autograd.grad(output.float().square().sum(), convolution.weight)
    assert (gradients[1] - gradients[0]).norm() < 0.01 * gradients[0].norm()


@pytest.mark.parametrize("side", [1, 2])
def test_training_and_serving_convolve_alike(model, side):
    convolution = model.down256.halve_twice[0]
    features = torch.randn(2, 256, side, side, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(convolution.train()(features), convolution.eval()(features))


def test_a_colour_depth_is_served_as_the_mean_of_its_channels():
    model = SumankanukolluDepthMask(6, depth_channels=3).eval()
    with torch.no_grad():
        model.depth_head.weight.zero_()
        model.depth_head.bias.copy_(torch.tensor([1.0, 2.0, 6.0]))
        depth_logits = model(draw_pictures(32, 32))[1]
    torch.testing.assert_close(depth_logits, torch.full((2, 1, 32, 32), 3.0))
