"""Proves that a grid is each combination once with every seed, under names that git takes, and refuses the rest."""

import pytest
from support.settings import SHIPPED_PARAMS

from maskdepth.params import load_params, override
from maskdepth.sweeping.grid import Grid, gather, plan

SHIPPED = load_params(SHIPPED_PARAMS)


def names(grid, name=""):
    return [each.name for each in plan(grid, SHIPPED, name)]


def test_every_mask_loss_meets_every_depth_loss_and_seed_by_seed():
    grid = Grid(mask=["bce", "dice"], depth=["l1", "ssim"], seeds=2)
    assert names(grid) == [
        "bce-l1-s0", "bce-ssim-s0", "dice-l1-s0", "dice-ssim-s0",
        "bce-l1-s1", "bce-ssim-s1", "dice-l1-s1", "dice-ssim-s1",
    ]  # fmt: skip


def test_an_experiment_says_what_is_to_be_set():
    first = plan(Grid(mask=["dice+bce"], depth=["ssim"], seeds=[7], set={"train.epochs": 3}), SHIPPED)[0]
    assert (first.name, first.signature, first.seed) == ("bce+dice-ssim-s7", "bce+dice|ssim", 7)
    changed = override(SHIPPED, first.settings, "")
    assert (changed.loss.mask, changed.loss.depth, changed.train.seed) == ("bce+dice", "ssim", 7)
    assert changed.train.epochs == 3


def test_two_spellings_of_a_combination_are_one():
    grid = Grid(
        mask=["bce+dice", "dice + bce", "1.0*dice+bce"], depth=["l1"], pairs=["dice+bce|l1", "bce|ssim"], seeds=1
    )
    assert names(grid) == ["bce+dice-l1-s0", "bce-ssim-s0"]


def test_losses_that_are_not_named_are_those_of_the_settings():
    assert names(Grid(mask=["bce"], seeds=1)) == ["bce-l1+ssim-s0"]
    assert names(Grid(depth=["l1"], seeds=1)) == ["bce+dice-l1-s0"]


def test_weights_make_names_that_git_takes():
    assert names(Grid(mask=["0.5*bce+2*dice"], depth=["l1"], seeds=1), "short") == ["short-0.5bce+2dice-l1-s0"]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (Grid(mask=["bcee"]), "did you mean bce"),
        (Grid(pairs=["bce"]), "loss.depth"),
        (Grid(), "no losses are named"),
        (Grid(mask=["bce"], seeds=0), "needs a seed"),
        (Grid(mask=["bce"], set={"train.epoch": 3}), "did you mean train.epochs"),
        (Grid(mask=["bce"], set={"train.epochs": "many"}), "train.epochs: found 'many'"),
        (Grid(mask=["bce"], set={"train.seed": 3}), "train.seed is what a sweep goes through"),
    ],
)
def test_what_cannot_be_run_is_refused(grid, message):
    with pytest.raises(ValueError, match=message):
        plan(grid, SHIPPED)


def test_a_name_that_git_does_not_take_is_refused():
    with pytest.raises(ValueError, match="cannot begin the names"):
        plan(Grid(mask=["bce"]), SHIPPED, "a b")


def test_what_is_typed_wins_over_the_file(tmp_path):
    path = tmp_path / "losses.yaml"
    path.write_text("mask: [bce, dice]\ndepth: [l1]\nseeds: [3, 4]\nset:\n  train.epochs: 2\n")
    grid = gather(path, "", "ssim, l1", "", None, ["train.batch_size=8", "train.augment=[flip]"])
    assert (grid.mask, grid.depth, grid.seeds) == (["bce", "dice"], ["ssim", "l1"], [3, 4])
    assert grid.set == {"train.epochs": 2, "train.batch_size": 8, "train.augment": ["flip"]}
    assert gather(path, "", "", "", 1, []).seeds == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("masks: [bce]", "masks: extra inputs are not permitted; known here: mask, depth, pairs, seeds, set"),
        ("mask: bce", "mask: input should be a valid list"),
        ("mask: [bce", "not readable as YAML"),
        ("- bce", "expected sections"),
        ("seeds: -1", "seeds"),
    ],
)
def test_a_file_that_cannot_be_a_sweep_is_named(tmp_path, text, message):
    path = tmp_path / "losses.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"{path}: .*{message}"):
        gather(path, "", "", "", None, [])
    with pytest.raises(FileNotFoundError, match="is missing"):
        gather(tmp_path / "no.yaml", "", "", "", None, [])
    with pytest.raises(ValueError, match="expected a key and a value"):
        gather(None, "", "", "", None, ["train.epochs"])
