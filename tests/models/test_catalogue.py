"""Proves that every network of the table keeps the contract, and that wrong names and inputs are refused helpfully."""

import pytest
import torch
from support.learning import learn_by_heart

from maskdepth.models.catalogue import (
    MODELS,
    build_model,
    build_network,
    check_image_size,
    count_multiply_adds,
    describe_models,
    resolve_inputs,
)
from maskdepth.models.network import INPUT_CHANNELS, NetworkSpec, Normalisation
from maskdepth.params import ModelParams

HALF = (0.5, 0.5, 0.5)


def build(name, inputs=None):
    inputs = inputs or MODELS[name].inputs[0]
    return build_network(NetworkSpec(name, inputs, Normalisation(HALF, HALF, HALF, HALF), 32))


def sizes_of(name):
    """Sizes that a network should take [px]: odd and small ones, where any side will do."""
    multiple = MODELS[name].multiple
    return [(32, 48), (16, 16)] if multiple > 1 else [(32, 48), (21, 38), (16, 17)]


@pytest.mark.parametrize("name", MODELS)
def test_prediction_has_the_size_and_range_of_its_contract(name):
    network = build(name).eval()
    for size in sizes_of(name):
        prediction = network(*torch.rand(2, 1, 3, *size))
        assert prediction.mask_logits.shape == prediction.depth.shape == (1, 1, *size)
        assert 0 <= prediction.depth.min() <= prediction.depth.max() <= 1


@pytest.mark.parametrize("name", MODELS)
def test_both_heads_depend_on_both_pictures(name):
    torch.manual_seed(0)
    network = build(name).eval()
    background, composite = torch.rand(2, 1, 3, 32, 32).requires_grad_().unbind()
    pictures = (background, composite)
    prediction = network(*pictures)
    for output in prediction:
        for gradient in torch.autograd.grad(output.sum(), pictures, retain_graph=True):
            assert gradient.abs().sum() > 0


@pytest.mark.parametrize("name", MODELS)
def test_every_weight_learns_but_those_that_are_named_unused(name):
    network = build(name)
    prediction = network(*torch.rand(2, 2, 3, 32, 32))
    (prediction.mask_logits.mean() + prediction.depth.mean()).backward()
    idle = [weight for weight, parameter in network.named_parameters() if parameter.grad is None]
    assert all("unused_" in weight for weight in idle)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "sudhakarmlal-convgen"])
def test_a_batch_is_learnt_by_heart(name):
    torch.manual_seed(1)
    right, depth_error = learn_by_heart(build(name), 32, 60, 3e-3)
    assert right > 0.95
    assert depth_error < 0.1


@pytest.mark.parametrize("name", MODELS)
def test_a_sample_does_not_depend_on_its_neighbours_in_the_batch(name):
    network = build(name).eval()
    background, composite = torch.rand(2, 3, 3, 32, 32)
    with torch.inference_mode():
        together, alone = network(background, composite), network(background[1:2], composite[1:2])
    torch.testing.assert_close(together.depth[1:2], alone.depth, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together.mask_logits[1:2], alone.mask_logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("name", "parameters"), [("dsunet", 607_050), ("unet", 1_297_906)])
def test_our_networks_stay_small(name, parameters):
    assert sum(p.numel() for p in build_model(name, "background+composite").parameters()) == parameters


@pytest.mark.parametrize("name", ["dsunet", "unet"])
def test_the_difference_is_three_more_channels(name):
    first = next(build_model(name, "background+composite+difference").parameters())
    assert first.shape[1] == INPUT_CHANNELS["background+composite+difference"] == 9


@pytest.mark.parametrize("name", ["dsunet", "unet"])
@pytest.mark.parametrize(
    "inputs", ["background+composite+background_depth", "background+composite+difference+background_depth"]
)
def test_our_networks_see_the_depth_of_the_background_where_they_are_asked_to(name, inputs):
    torch.manual_seed(0)
    network = build(name, resolve_inputs(ModelParams(name=name, inputs=inputs))).eval()
    assert next(network.model.parameters()).shape[1] == INPUT_CHANNELS[inputs]
    background, composite = torch.rand(2, 1, 3, 21, 38)
    near, far = (torch.tensor([depth, 1.0]).view(1, 2, 1, 1).expand(1, 2, 21, 38) for depth in (0.2, 0.8))
    with torch.inference_mode():
        answers = [network(background, composite, *known).depth for known in ((), (near,), (far,))]
    assert all(answer.shape == (1, 1, 21, 38) for answer in answers)
    assert (answers[2] > answers[1]).float().mean() > 0.9
    assert not torch.equal(answers[0], answers[1])


def test_description_counts_what_a_batch_of_one_costs():
    rows = {row["name"]: row for row in describe_models()}
    assert list(rows) == list(MODELS)
    assert rows["sajnanshetty"]["parameters"] == "8,631,810"
    assert rows["sajnanshetty"]["multiply-adds at 64 / 224 px"] == "1,215 M / 14,887 M"
    assert rows["mshilpaa"]["what it is"] == "student project mshilpaa; sides of multiples of 16 px"


def test_multiply_adds_are_counted_for_a_convolution_as_by_hand():
    # Its last layer: a 1x1 convolution of 24 channels to one at 16 x 16 px; all layers are at least that.
    assert count_multiply_adds("dsunet", "background+composite", 16) > 24 * 16 * 16
    # Four times the pixels cost four times as much where nothing depends on the size.
    small, large = (count_multiply_adds("sajnanshetty", "background+composite", side) for side in (32, 64))
    assert large == 4 * small


def test_unknown_network_names_the_nearest_and_all():
    with pytest.raises(
        ValueError, match=r"model\.name: unknown network 'u-net'; did you mean unet\? known: dsunet, unet"
    ):
        resolve_inputs(ModelParams(name="u-net", inputs="auto"))


def test_auto_takes_the_first_inputs_of_the_network():
    assert resolve_inputs(ModelParams(name="dsunet", inputs="auto")) == "background+composite+difference"
    assert resolve_inputs(ModelParams(name="sajnanshetty", inputs="auto")) == "background+composite"


def test_inputs_that_a_network_cannot_take_are_refused():
    with pytest.raises(ValueError, match=r"model\.inputs: sajnanshetty does not accept 'background\+composite\+diff"):
        resolve_inputs(ModelParams(name="sajnanshetty", inputs="background+composite+difference"))


def test_pictures_that_vanish_in_four_halvings_are_refused():
    check_image_size("unet", 16)
    with pytest.raises(ValueError, match=r"data\.image_size: found 15 px; the networks need 16 px or more"):
        check_image_size("unet", 15)


def test_a_size_that_does_not_halve_evenly_is_refused_where_it_must():
    check_image_size("sajnanshetty", 100)
    with pytest.raises(ValueError, match=r"found 100 px; mshilpaa needs a multiple of 16, for example 112"):
        check_image_size("mshilpaa", 100)
