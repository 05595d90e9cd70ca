"""Proves that every recipe is a valid, trainable params.yaml with what its project used, and that the file survives."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.copied import copy_code
from support.settings import SHIPPED_PARAMS, copy_params

from maskdepth.losses.catalogue import build_criterion
from maskdepth.models.catalogue import build_network, resolve_inputs
from maskdepth.models.network import NetworkSpec, Normalisation
from maskdepth.models.prediction import Prediction
from maskdepth.params import load_params, update_params
from maskdepth.training.fit import TrainState
from maskdepth.tuning.recipes import describe_recipes, find_recipe, read_recipes, write_recipe

HALF = (0.5, 0.5, 0.5)


@pytest.fixture
def path(tmp_path):
    return copy_params(tmp_path)


def comments(path: Path) -> list[str]:
    return [line.partition("#")[2] for line in path.read_text().splitlines()]


@pytest.mark.parametrize("name", read_recipes())
def test_a_recipe_gives_a_valid_file_with_every_comment_kept(name, path):
    write_recipe(name, path)
    load_params(path)
    assert comments(path) == comments(SHIPPED_PARAMS)
    assert [file.name for file in path.parent.iterdir()] == ["params.yaml"]


@pytest.mark.parametrize("name", read_recipes())
def test_a_recipe_names_losses_and_a_network_that_train(name, path):
    write_recipe(name, path)
    params = load_params(path)
    prediction = Prediction(*torch.rand(2, 2, 1, 16, 16).requires_grad_().unbind())
    total = build_criterion(params.loss)(prediction, torch.ones(2, 1, 16, 16), torch.rand(2, 1, 16, 16))["loss"]
    total.backward()
    spec = NetworkSpec(params.model.name, resolve_inputs(params.model), Normalisation(HALF, HALF, HALF, HALF), 16)
    with torch.device("meta"):
        state = TrainState(build_network(spec), params.train, steps_per_epoch=3)
    assert state.optimizer.param_groups[0]["lr"] == 0.01


@pytest.mark.parametrize("name", read_recipes())
def test_a_recipe_does_not_depend_on_what_was_there(name, path):
    for other in (*read_recipes(), name):
        write_recipe(other, path)
    params = load_params(path).model_dump()
    found = {f"{section}.{key}": value for section, values in params.items() for key, value in values.items()}
    assert {key: found[key] for key in read_recipes()[name].settings} == read_recipes()[name].settings
    assert (
        len({len(recipe.settings) for recipe in read_recipes().values() if recipe.settings["train.schedule"] == "step"})
        == 1
    )


def test_known_numbers_of_each_project():
    known = {
        "sajnanshetty": (64, 15, 8, "adam", 1.0, 1.0),
        "sumankanukollu": (224, 5, 50, "sgd", 2.0, 1.0),
        "deepjyotisaha85": (64, 28, 64, "sgd", 0.3, 0.7),
        "mshilpaa": (64, 20, 128, "sgd", 1.0, 1.0),
        "sudhakarmlal": (64, 3, 16, "sgd", 2.0, 1.0),
        "sudhakarmlal-convgen": (64, 1, 16, "sgd", 2.0, 1.0),
    }
    keys = [f"train.{name}" for name in ("epochs", "batch_size", "optimizer")]
    keys = ["data.image_size", *keys, "loss.mask_weight", "loss.depth_weight"]
    assert {name: tuple(recipe.settings[key] for key in keys) for name, recipe in read_recipes().items()} == known


def test_the_leaky_split_is_the_students_and_the_seeds_stay_the_user_s(path):
    update_params(path, {"train.seed": 7, "split.seed": 8})
    write_recipe("mshilpaa", path)
    params = load_params(path)
    assert (params.split.by, params.split.val + params.split.test) == ("sample", pytest.approx(0.3))
    assert (params.train.seed, params.split.seed) == (7, 8)


def test_writing_says_what_changed_and_what_to_know(path, capsys):
    update_params(path, {"train.gamma": 0.1, "train.augment": ["flip", "cutout"]})
    write_recipe("sudhakarmlal", path)
    lines = capsys.readouterr().out.splitlines()
    assert "train.gamma: 0.1 -> 0.01" in lines and "train.augment: ['flip', 'cutout'] -> []" in lines
    assert any(line.startswith("- repeated: each epoch has a hundredth of the learning rate") for line in lines)
    assert any(line.startswith("- repeated: pictures are split one by one") for line in lines)
    write_recipe("sudhakarmlal", path)
    assert capsys.readouterr().out.startswith("recipe: sudhakarmlal, 0 settings")


def test_an_unknown_recipe_names_the_nearest_and_all():
    with pytest.raises(
        ValueError, match=r"unknown recipe 'Sajnan'; did you mean sajnanshetty\? known: deepjyotisaha85, mshilpaa, saj"
    ):
        find_recipe("Sajnan")
    with pytest.raises(ValueError, match=r"unknown recipe 'xyz'; known: deepjyotisaha85"):
        find_recipe("xyz")


def test_every_recipe_is_described_in_one_row_of_text():
    rows = describe_recipes()
    assert [row["name"] for row in rows] == list(read_recipes())
    assert all(value and "\n" not in value for row in rows for value in row.values())


@pytest.mark.parametrize("name", read_recipes())
def test_every_note_says_of_what_kind_it_is(name):
    kinds = ("repeated: ", "corrected: ", "differs: ", "not on record: ", "not sure: ", "also: ")
    assert all(note.startswith(kinds) and note.endswith(".") for note in read_recipes()[name].notes)


# Changing params.yaml


def test_changing_nothing_leaves_every_byte(path):
    train = load_params(path).train
    assert update_params(path, {"train.epochs": train.epochs, "train.augment": train.augment}) == {}
    assert path.read_bytes() == SHIPPED_PARAMS.read_bytes()


def test_one_value_is_one_line(path):
    before = load_params(path).loss.depth
    assert update_params(path, {"loss.depth": "berhu"}) == {"loss.depth": (before, "berhu")}
    lines = zip(SHIPPED_PARAMS.read_text().splitlines(), path.read_text().splitlines(), strict=True)
    [(old, new)] = [pair for pair in lines if pair[0] != pair[1]]
    assert new.startswith("  depth: berhu") and new.partition("#")[2] == old.partition("#")[2] != ""


def test_small_numbers_mappings_and_lists_come_back_as_they_were(path):
    values = {"train.weight_decay": 1e-5, "loss.depth": {"l1": 1.0, "ssim": 0.5}, "train.augment": ["cutout"]}
    update_params(path, values)
    params = load_params(path)
    assert (params.train.weight_decay, params.loss.depth, params.train.augment) == tuple(values.values())
    assert "augment: [cutout]" in path.read_text()


@pytest.mark.parametrize("value", [[], ["cutout"], ["cutout", "flip"]])
def test_a_list_that_dvc_wrote_below_its_key_can_be_changed(path, value):
    # As `dvc exp run -S` leaves the file.
    path.write_text(re.sub(r"augment: \[flip\] *(#.*)", r"augment:  \1\n  - flip", path.read_text()))
    assert load_params(path).train.augment == ["flip"]
    assert update_params(path, {"train.augment": value}) == {"train.augment": (["flip"], value)}
    assert load_params(path).train.augment == value
    assert comments(path) == comments(SHIPPED_PARAMS)


def test_a_layout_of_the_user_s_own_is_kept(path):
    text = path.read_text()
    own = "layout:             # mine\n    mask: ['a(?P<background>\\d+)', \"b\"]\n    depth:\n      - c # why\n"
    path.write_text(text.replace(text[text.index("layout:") : text.index("  image_size")], own))
    before = load_params(path).data.layout
    update_params(path, {"train.epochs": 3})
    assert load_params(path).data.layout == before
    assert own in path.read_text()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"train.epochs": 0}, r"params\.yaml was not changed: train\.epochs: found 0; Input should be greater"),
        ({"split.val": 0.9, "split.test": 0.15}, r"params\.yaml was not changed: split\.val \+ split\.test is 1\.05"),
        ({"train.epoch": 1}, r"train\.epoch: unknown key; did you mean train\.epochs\?"),
        ({"train": {}}, r"train: unknown key"),
        ({"nothing.at.all": 1}, r"nothing\.at\.all: unknown key"),
    ],
)
def test_a_wrong_value_or_key_leaves_the_file_alone(path, values, message):
    with pytest.raises(ValueError, match=message):
        update_params(path, {"train.seed": 7, **values})
    assert path.read_bytes() == SHIPPED_PARAMS.read_bytes()
    assert [file.name for file in path.parent.iterdir()] == ["params.yaml"]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"params\.yaml is missing"):
        write_recipe("mshilpaa", tmp_path / "params.yaml")


NEW_RECIPE = """
summary = "our own, longer"
published = "nothing yet"
notes = ["differs: it is ours."]

[settings.train]
epochs = 99
"""


def test_a_new_recipe_is_one_file(path, tmp_path):
    code = copy_code(tmp_path / "code")
    (code / "src" / "maskdepth" / "tuning" / "known_recipes" / "longer.toml").write_text(NEW_RECIPE)
    done = subprocess.run(
        [sys.executable, "-m", "maskdepth.cli", "recipe", "longer", "--params", path],
        env=os.environ | {"PYTHONPATH": str(code / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"train.epochs: {load_params(SHIPPED_PARAMS).train.epochs} -> 99" in done.stdout
    assert load_params(path).train.epochs == 99
