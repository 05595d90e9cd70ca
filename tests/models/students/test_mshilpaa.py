"""The network of mshilpaa has the published size, trains every part, and says which picture sizes it can take."""

import pytest
import torch

from maskdepth.models.students.mshilpaa import MshilpaaUNet


@pytest.fixture
def model() -> MshilpaaUNet:
    torch.manual_seed(1)
    return MshilpaaUNet(6)


def draw_pictures(height: int, width: int) -> torch.Tensor:
    return torch.rand(2, 6, height, width, generator=torch.Generator().manual_seed(0))


def test_the_parameter_count_is_the_projects(model):
    assert sum(parameter.numel() for parameter in model.parameters()) == 11_234_066


@pytest.mark.parametrize(("size", "enough"), [((100, 64), "112x64"), ((64, 100), "64x112"), ((1, 17), "16x32")])
def test_a_size_that_does_not_halve_four_times_is_refused_with_one_that_does(model, size, enough):
    found = "x".join(map(str, size))
    with pytest.raises(
        ValueError, match=f"found pictures of {found} px .* multiples of 16: pad or resize to {enough}$"
    ):
        model(draw_pictures(*size))


def test_the_decoders_share_nothing(model):
    mask_logits, _ = model(draw_pictures(16, 16))
    mask_logits.mean().backward()
    assert all(parameter.grad is not None for parameter in model.mask_decoder.parameters())
    assert all(parameter.grad is None for parameter in model.depth_decoder.parameters())
