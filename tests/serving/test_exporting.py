"""An exported file says what the network says, at every size and batch, and carries what one must know to use it."""

import sys

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from maskdepth.models.catalogue import MODELS, build_network
from maskdepth.models.network import Network, NetworkSpec, Normalisation
from maskdepth.models.saved import save_network
from maskdepth.serving.exporting import (
    FORMATS,
    TOLERANCE,
    export,
    export_network,
    read_exported,
    run_onnx,
    write_onnx,
    write_pt2,
)

# Two pictures, each with moments of its own: a normalisation that was left out, or mixed up, would show.
MOMENTS = Normalisation((0.2, 0.3, 0.4), (0.5, 0.6, 0.7), (0.6, 0.5, 0.4), (0.3, 0.2, 0.1))


def build(name, size=64, inputs=None):
    """Build a network whose batch normalisation has seen something, so that its answers differ from pixel to pixel."""
    torch.manual_seed(0)
    network = build_network(NetworkSpec(name, inputs or MODELS[name].inputs[0], MOMENTS, size))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return network.eval()


@torch.inference_mode()
def predict(network, background, composite):
    prediction = network(torch.from_numpy(background), torch.from_numpy(composite))
    return prediction.mask_logits.sigmoid().numpy(), prediction.depth.numpy()


def draw(batch, height, width):
    return np.random.default_rng(1).random((2, batch, 3, height, width), dtype=np.float32)


def sizes_of(name):
    """Sizes that were not looked at while it was exported."""
    multiple = MODELS[name].multiple
    return [(1, 48, 80), (5, 16, 16)] if multiple > 1 else [(1, 37, 91), (5, 16, 17)]


@pytest.mark.nightly
@pytest.mark.parametrize("name", MODELS)
def test_every_network_answers_as_before_once_it_is_exported(name, tmp_path):
    network = build(name)
    write_pt2(export_network(network), tmp_path / "network.pt2")
    module = read_exported(tmp_path / "network.pt2").program.module()
    for size in sizes_of(name):
        pictures = draw(*size)
        for ours, theirs in zip(module(*map(torch.from_numpy, pictures)), predict(network, *pictures), strict=True):
            np.testing.assert_allclose(ours.detach().numpy(), theirs, atol=TOLERANCE)


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["dsunet", "unet", "mshilpaa"])
def test_onnx_runtime_answers_as_the_network(name, tmp_path):
    network = build(name)
    write_onnx(export_network(network), tmp_path / "network.onnx")
    run = run_onnx(tmp_path / "network.onnx")
    for size in sizes_of(name):
        pictures = draw(*size)
        expected = predict(network, *pictures)
        assert np.ptp(expected[0]) > 100 * TOLERANCE  # an answer that is the same everywhere would prove nothing
        for ours, theirs in zip(run(*pictures), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=TOLERANCE)
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx")
    assert [tuple(each.shape) for each in session.get_inputs()] == [("batch", 3, "height", "width")] * 2
    assert [each.name for each in session.get_outputs()] == ["mask", "depth"]
    known = session.get_modelmeta().custom_metadata_map
    assert (known["architecture"], known["image_size"]) == (name, "64")
    assert known["sides"] == ("multiples of 16 px" if name == "mshilpaa" else "16 px or more")


@pytest.mark.nightly
def test_a_network_that_could_see_the_depth_of_the_background_does_without():
    network = build("dsunet", inputs="background+composite+difference+background_depth")
    exported = export_network(network)  # refuses what differs from the network
    assert exported.card["inputs"].endswith("The depth of the background, which it could see, is taken as unknown")
    pictures = draw(2, 33, 40)
    mask, _ = exported.program.module()(*map(torch.from_numpy, pictures))
    np.testing.assert_allclose(mask.detach().numpy(), predict(network, *pictures)[0], atol=TOLERANCE)


@pytest.mark.nightly
def test_a_file_refuses_sizes_that_its_network_does_not_take(tmp_path):
    write_pt2(export_network(build("mshilpaa")), tmp_path / "network.pt2")
    module = read_exported(tmp_path / "network.pt2").program.module()
    with pytest.raises(AssertionError, match="% 16 == 0"):
        module(*map(torch.from_numpy, draw(1, 33, 47)))


@pytest.mark.nightly
def test_the_command_goes_from_weights_to_both_and_from_one_to_the_other(tmp_path):
    save_network(build("dsunet", 32), tmp_path / "model.safetensors")
    for source, to in (("model.safetensors", "pt2"), ("network.pt2", "onnx")):
        told = export(tmp_path / source, to, tmp_path / f"network.{to}", overwrite=False)
        assert told.startswith(f"{tmp_path}/network.{to}: dsunet as {to}, ")
        assert told.endswith("any batch, sides of 16 px or more; made for pictures of 32 px")
    assert read_exported(tmp_path / "network.pt2").image_size == 32


class Undecided(nn.Module):
    """A model whose way through depends on the values it sees, which no export can follow."""

    def forward(self, pictures):
        scores = pictures.mean(1, keepdim=True)
        return (scores + 1 if bool(scores.sum() > 7) else scores), scores


@pytest.mark.nightly
def test_a_network_that_cannot_be_exported_is_refused_with_its_name():
    network = Network(Undecided(), NetworkSpec("dsunet", "background+composite", MOMENTS, 32))
    with pytest.raises(ValueError, match=r"^dsunet cannot be exported: .+$"):
        export_network(network)


def test_what_cannot_be_exported_is_said_in_one_line(tmp_path, monkeypatch):
    weights, out = tmp_path / "model.safetensors", tmp_path / "network.onnx"
    with pytest.raises(FileNotFoundError, match=r"model.safetensors is missing"):
        export(weights, "onnx", out, overwrite=False)
    weights.write_bytes(b"no weights")
    with pytest.raises(ValueError, match="is no readable safetensors file"):
        export(weights, "onnx", out, overwrite=False)
    with pytest.raises(ValueError, match="--to coreml: expected one of onnx, pt2"):
        export(weights, "coreml", out, overwrite=False)
    (tmp_path / "network.pt2").write_bytes(b"no program")
    with pytest.raises(ValueError, match=r"network.pt2 is no exported network of ours: "):
        export(tmp_path / "network.pt2", "onnx", out, overwrite=False)
    out.touch()
    with pytest.raises(ValueError, match=r"network.onnx is there already; choose another --out, or .* --overwrite"):
        export(weights, "onnx", out, overwrite=False)
    assert FORMATS == ("onnx", "pt2")


@pytest.mark.parametrize("library", ["onnx", "onnxscript", "onnxruntime"])
def test_without_its_libraries_the_extra_is_named_before_any_work(tmp_path, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ValueError, match=r"pip install 'maskdepth\[export\]'"):
        export(tmp_path / "none.safetensors", "onnx", tmp_path / "network.onnx", overwrite=False)
