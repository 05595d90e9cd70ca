"""Proves that a saved network comes back whole or not at all."""

import copy
import json
import pickle
import random

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from maskdepth.models import saved
from maskdepth.models.catalogue import build_network
from maskdepth.models.network import NetworkSpec, Normalisation
from maskdepth.models.saved import load_network, save_network

SPEC = NetworkSpec(
    "dsunet",
    "background+composite+difference",
    Normalisation((0.1, 0.2, 0.3), (0.25, 0.25, 0.25), (0.4, 0.5, 0.6), (0.3, 0.3, 0.3)),
    32,
)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_network(SPEC).eval()


@pytest.fixture
def path(network, tmp_path):
    save_network(network, tmp_path / "models" / "model.safetensors")
    return tmp_path / "models" / "model.safetensors"


def edit_card(path, change):
    """Change the card of a network, and give it the checksum that belongs to it now."""
    with safe_open(path, "pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        card = json.loads(file.metadata()["maskdepth"])
    card = change({name: value for name, value in card.items() if name != "sha256"})
    if isinstance(card, dict):
        card["sha256"] = saved._digest_network(dict(card), weights)
    save_file(weights, path, {"maskdepth": json.dumps(card)})


def test_a_loaded_network_predicts_the_same(network, path):
    loaded = load_network(path)
    assert loaded.spec == SPEC
    assert not loaded.training
    pictures = torch.rand(2, 1, 3, 32, 32)
    for before, after in zip(network(*pictures), loaded(*pictures), strict=True):
        assert torch.equal(before, after)


def test_saving_leaves_nothing_but_the_file(path):
    assert list(path.parent.iterdir()) == [path]


def test_no_network_says_how_to_make_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors is missing; `dvc repro train` makes it"):
        load_network(tmp_path / "model.safetensors")


def test_a_flipped_byte_or_a_missing_end_is_never_a_network(path):
    whole = path.read_bytes()
    chance = random.Random(0)
    for _ in range(20):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="`dvc checkout --force`"):
            load_network(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="is no readable safetensors file"):
        load_network(path)


def test_foreign_files_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="found format None, expected 'maskdepth-network-2'"):
        load_network(path)
    path.write_bytes(pickle.dumps({"weight": 1}))
    with pytest.raises(ValueError, match="is no readable safetensors file"):
        load_network(path)


def test_an_architecture_that_is_not_known_is_named(path):
    edit_card(path, lambda card: card | {"architecture": "resnet"})
    with pytest.raises(ValueError, match=r"does not fit this version of maskdepth: .*unknown network 'resnet'.*dsunet"):
        load_network(path)


def test_weights_of_another_architecture_are_refused(path):
    edit_card(path, lambda card: card | {"architecture": "unet"})
    with pytest.raises(ValueError, match="does not fit this version of maskdepth"):
        load_network(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda card: None,
        lambda card: [card],
        lambda card: {},
        lambda card: {name: card[name] for name in card if name != "normalisation"},
        lambda card: card | {"normalisation": None},
        lambda card: card | {"normalisation": {"mean": 1}},
        lambda card: card | {"image_size": None, "inputs": 3},
        lambda card: card | {"inputs": "background"},
        *[lambda card, size=size: card | {"image_size": size} for size in (-5, 0, 7, 4097, 33.0, "64", True, 1e300)],
        *[
            lambda card, moments=moments: card | {"normalisation": card["normalisation"] | {"composite_std": moments}}
            for moments in ([], [0.5], [0.5] * 4, "abc", [0.5, 0.5, None], [[0.5] * 3] * 3, [0.5, 0.5, float("nan")])
        ],
    ],
)
def test_a_card_that_is_none_is_one_clear_error(path, change):
    edit_card(path, change)
    with pytest.raises(ValueError, match=r"model\.safetensors.*`dvc repro --force train`"):
        load_network(path)


def test_a_card_nested_without_end_is_one_clear_error(path):
    with safe_open(path, framework="pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(weights, path, {"maskdepth": "[" * 100_000})
    with pytest.raises(ValueError, match=r"is no readable safetensors file \(nested too deeply\)"):
        load_network(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(network, path, value):
    harmed = copy.deepcopy(network)
    with torch.no_grad():
        next(harmed.parameters())[0, 0, 0, 0] = value
    save_network(harmed, path)
    with pytest.raises(ValueError, match=r"its weights .* are not finite.*`dvc repro --force train`"):
        load_network(path)


def test_a_flipped_bit_anywhere_in_the_card_is_found(path):
    whole = path.read_bytes()
    start = whole.index(b"maskdepth-network")
    for place in range(start, whole.index(b"sha256", start) + 80):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"model\.safetensors"):
            load_network(path)


def test_weights_of_any_type_have_a_checksum(network, tmp_path):
    save_network(copy.deepcopy(network).bfloat16(), tmp_path / "half.safetensors")
    load_network(tmp_path / "half.safetensors")
